"""Headers of safetensors files: what is read agrees with the format's own library, and what can't be is told in a line."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.torch import save_file

from sdbuild.errors import UserError
from sdbuild.modeling.checkpoint import Checkpoint
from sdbuild.sources.header import BITS, header_of

ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def entry(**changes: Any) -> dict[str, Any]:
    return ENTRY | changes


def packed(header: Any, data: bytes = b"1234") -> bytes:
    """A file of a header, JSON or bytes, and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def names(content: bytes, folder: Path) -> list[str]:
    """The names that are read; checked against the format's own library."""
    (folder / "m.safetensors").write_bytes(content)
    entries = header_of(folder / "m.safetensors")
    expected = {name: (about["dtype"], tuple(about["shape"]), about["data"]) for name, about in deserialize(content)}
    assert {name: (e.dtype, e.shape, content[e.start : e.end]) for name, e in entries.items()} == expected
    return sorted(entries)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        pytest.param({"a": entry()}, b"1234", id="one"),
        pytest.param({"a": entry(shape=[])}, b"1234", id="a scalar"),
        pytest.param({"a": entry(shape=[0, 3], data_offsets=[0, 0])}, b"", id="nothing but an empty tensor"),
        pytest.param({"a": entry(shape=[0], data_offsets=[4, 4]), "b": entry()}, b"1234", id="an empty one at the end"),
        pytest.param(
            {"b": entry(), "a": entry(shape=[0], data_offsets=[4, 4]), "c": entry(data_offsets=[4, 8])},
            b"12345678",
            id="an empty one between",
        ),
        pytest.param({"a": entry() | {"of": "tomorrow"}}, b"1234", id="another key"),
        pytest.param({"__metadata__": {"format": "pt"}, "a": entry()}, b"1234", id="metadata"),
        pytest.param({"__metadata__": None, "a": entry()}, b"1234", id="no metadata"),
        pytest.param(json.dumps({"a": entry()}).encode() + b"    ", b"1234", id="padding"),
        pytest.param({"": entry(), "ä": entry(data_offsets=[4, 8])}, b"12345678", id="odd names"),
        pytest.param({}, b"", id="no tensors"),
    ],
)
def test_valid_headers(header: Any, data: bytes, tmp_path: Path) -> None:
    assert names(packed(header, data), tmp_path) == sorted(
        name for name in json.loads(header if isinstance(header, bytes) else json.dumps(header)) if name[:2] != "__"
    )


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_every_type_of_the_format(dtype: str, tmp_path: Path) -> None:
    header = {"a": entry(dtype=dtype, shape=[2, 4], data_offsets=[0, BITS[dtype]])}
    assert names(packed(header, bytes(BITS[dtype])), tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1234", "its beginning is not that of one"),
        (packed({"a": entry()})[:-1], "its end is missing"),
        (packed({"a": entry()}) + b"5", "something follows the last tensor"),
        (b"\xff" * 8 + b"{", "its beginning is not that of one"),
        (packed(b"[1, 2]"), "its header is no object"),
        (packed(b'{"a": NaN}'), "its header is not JSON"),
        (packed(b"{" + b'"a":[' * 100_000), "its header is not JSON"),
        (packed(b'{"a": ' + b"9" * 5000 + b"}"), "its header is not JSON"),
        (packed(b'{"\\ud800": {}}'), "its header is not JSON"),
        (packed(b'{"a": {}, "a": {}}'), "its header has a twice"),
        (packed({"__metadata__": {"a": 1}}), "its metadata is no table of texts"),
        (packed({"a": 3}), "a is of an unknown type"),
        (packed({"a": entry(dtype="F8_X")}), "a is of an unknown type"),
        (packed({"a": entry(shape=[True])}), "the shape or the place of a is none"),
        (packed({"a": entry(shape=[-1])}), "the shape or the place of a is none"),
        (packed({"a": entry(shape=[1.0])}), "the shape or the place of a is none"),
        (packed({"a": entry(shape=[2**62] * 100_000)}), "the shape or the place of a is none"),
        (packed({"a": entry(data_offsets=[4, 0])}), "a has another size than its type and shape say"),
        (packed({"a": entry(data_offsets=[0, 4, 8])}), "the shape or the place of a is none"),
        (packed({"a": entry(shape=[2])}), "a has another size than its type and shape say"),
        (packed({"a": entry(dtype="F4", data_offsets=[0, 1])}, b"1"), "a has another size than its type and shape say"),
        (packed({"a": entry(data_offsets=[1, 5])}, b"12345"), "a does not begin where the tensor before it ends"),
        (packed({"a": entry(), "b": entry(data_offsets=[2, 6])}, b"123456"), "b does not begin where the tensor"),
        (packed({"\x1b[31m": entry(data_offsets=[1, 5])}), r'"\\u001b\[31m" does not begin'),
    ],
)
def test_what_is_no_header(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(
        UserError, match=rf"m\.safetensors: not a safetensors file, or damaged \({message}.*get it again"
    ):
        header_of(tmp_path / "m.safetensors")


ODD: list[Any] = [
    *(None, True, 0, 1, -1, 4, 8, 2**31, 2**63, 2**64, 10**30, 0.5, 1e300, "", "F32", "F16", "F4", "BOOL", "x" * 200),
    *(
        [],
        {},
        [0],
        [0, 0],
        [0, 4],
        [4, 4],
        [4, 0],
        [1, 1, 1],
        [[0], [4]],
        {"a": 1},
        "\x1b[2J",
        "data_offsets",
        [0, 2**63],
    ),
]
BYTES = [
    b"",
    b"[" * 3000,
    b'{"a":' * 600,
    b"\xef\xbb\xbf",
    b"\xff",
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b'"\\udfff"',
    b"\0" * 9,
]
LONGEST = 2**48


def mutated(chance: random.Random) -> bytes:
    """A file of a few tensors, with one to three faults."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in ("a.weight", "b.bias", "v_pred", "c", "d")[: chance.randint(1, 5)]:
        dtype = chance.choice(sorted(BITS))
        shape = chance.choice(([8], [2, 4], [0], [], [1, 8, 2], [3, 0, 5]))
        count = 1
        for side in shape:
            count *= side
        size = (count * BITS[dtype] + 7) // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    faults = chance.choice((0, 1, 1, 1, 2, 3))
    for _ in range(faults):
        _edit(header, chance)
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(at)
    if chance.random() < 0.2:
        content = _edit_bytes(content, chance)
    return content


def _edit(header: dict[str, Any], chance: random.Random) -> None:
    name = chance.choice(sorted(header))
    about = header[name]
    match chance.randrange(5):
        case 0:
            header[name] = _odd(chance)
        case 1:
            header[chance.choice(("a.weight", "new", "\ud800", "", "__metadata__"))] = copy.deepcopy(about)
        case 2 if isinstance(about, dict) and about:
            del about[chance.choice(sorted(about))]
        case _ if isinstance(about, dict) and isinstance(about.get("shape"), list):
            key = chance.choice(sorted(about))
            numbers = about[key]
            if isinstance(numbers, list) and numbers and chance.random() < 0.6:
                numbers[chance.randrange(len(numbers))] = _odd(chance)
            else:
                about[key] = _odd(chance)
        case _:
            del header[name]


def _odd(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(ODD))


def _edit_bytes(content: bytes, chance: random.Random) -> bytes:
    at, to = sorted((chance.randint(0, len(content)), chance.randint(0, len(content))))
    to = chance.choice((at, at + 1, to))
    middle = chance.choice((*BYTES, content[at:to] * 2, bytes([chance.randrange(256)])))
    edited = content[:at] + middle + content[to:]
    if chance.random() < 0.5:  # the length of the header made right again
        edited = max(0, len(edited) - 8).to_bytes(8, "little") + edited[8:]
    return edited


def judge(seed: int, path: Path) -> None:
    """A mutated file is read as the library reads it, and refused in a line where that refuses it."""
    content = mutated(random.Random(seed))
    path.write_bytes(content)
    try:
        expected = {name: (about["dtype"], tuple(about["shape"])) for name, about in deserialize(content)}
    except (SafetensorError, ValueError):
        expected = None
    try:
        checkpoint, entries = Checkpoint([path]), header_of(path)
    except UserError as error:
        text = str(error)
        assert text.isprintable()
        assert len(text) < 1000
        assert expected is None or _stricter(content, text), text
        return
    assert {name: (e.dtype, e.shape) for name, e in entries.items()} == expected
    for name, about in entries.items():
        try:
            assert checkpoint.load(name).shape == about.shape
        except UserError as error:
            assert " is of type " in str(error)


def _stricter(content: bytes, told: str) -> bool:
    """Where the library is lenient: names that come twice, blanks before the header, entries as lists, and sides past all
    disks.
    """
    header = content[8:][: int.from_bytes(content[:8], "little")]
    beyond = any(number >= LONGEST for about in deserialize(content) for number in about[1]["shape"])
    twice = " twice" in told
    lists = isinstance(json.loads(header), dict) and any(
        isinstance(about, list) for about in json.loads(header).values()
    )
    return header[:1] != b"{" or beyond or twice or lists


@settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_mutated_headers(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    judge(seed, tmp_path_factory.getbasetemp() / "mutated.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_mutated_headers(part: int, tmp_path: Path) -> None:
    for seed in range(part * 1000, part * 1000 + 1000):
        judge(seed, tmp_path / "m.safetensors")


def test_empty_tensors_are_loaded(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(0, 3), "b": torch.ones(2, dtype=torch.float16)}, tmp_path / "m.safetensors")
    checkpoint = Checkpoint([tmp_path / "m.safetensors"])
    assert checkpoint.load("a").shape == (0, 3)
    assert checkpoint.load("b").tolist() == [1, 1]
