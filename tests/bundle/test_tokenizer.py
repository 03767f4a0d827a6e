"""The tokenizer's two files are put in form, and what the Swift package cannot read is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sdbuild.bundle.contract import check_resources
from sdbuild.bundle.tokenizer import check_tokenizer, write_tokenizer
from sdbuild.errors import UserError
from tests.bundle.models import MERGES, VOCABULARY, Workshop, expectations, xl

TOKENS = ("<|startoftext|>", "<|endoftext|>", "!")


def write(folder: Path, vocabulary: bytes | None = None, merges: bytes | None = None) -> Path:
    folder.mkdir()
    (folder / "vocab.json").write_bytes(json.dumps(VOCABULARY).encode() if vocabulary is None else vocabulary)
    (folder / "merges.txt").write_bytes(MERGES.encode() if merges is None else merges)
    return folder


def test_windows_line_ends_and_a_missing_last_one_are_mended(tmp_path: Path) -> None:
    merges = b"\xef\xbb\xbf#version: 0.2\r\na b</w>"
    write_tokenizer([write(tmp_path / "tokenizer", merges=merges)], tmp_path)
    assert (tmp_path / "merges.txt").read_bytes() == MERGES.encode()
    assert (tmp_path / "vocab.json").read_bytes() == json.dumps(VOCABULARY).encode() + b"\n"
    assert check_tokenizer(tmp_path, ["vocab.json", "merges.txt"], TOKENS) == []


def test_a_second_tokenizer_must_hold_the_same(tmp_path: Path) -> None:
    first = write(tmp_path / "tokenizer")
    same = write(tmp_path / "tokenizer_2", merges=MERGES.replace("\n", "\r\n").encode())
    other = write(tmp_path / "tokenizer_3", vocabulary=b"{}")
    write_tokenizer([first, same], tmp_path)
    with pytest.raises(UserError, match="tokenizer and tokenizer_3 differ"):
        write_tokenizer([first, same, other], tmp_path)


def test_a_tokenizer_without_its_files_is_told_by_name(tmp_path: Path) -> None:
    (write(tmp_path / "tokenizer") / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"the tokenizer tokenizer has no merges\.txt"):
        write_tokenizer([tmp_path / "tokenizer"], tmp_path)


def _vocabulary(**changes: object) -> bytes:
    changed = {token: number for token, number in (VOCABULARY | changes).items() if number is not ...}
    return json.dumps(changed).encode()


BAD: dict[str, tuple[bytes | None, bytes | None, str]] = {
    "not-json": (b'{"a": 1,}', None, "vocab.json: not JSON (Expecting property name enclosed in double quotes: line 1"),
    "not-utf8": (b'{"\xff": 1}', None, "vocab.json: not JSON ('utf-8' codec can't decode byte 0xff"),
    "a-list": (b'["a"]', None, "vocab.json: not a mapping of tokens to numbers"),
    "a-fraction": (_vocabulary(a=1.5), None, "vocab.json: 'a' is not mapped to a whole number"),
    "texts": (b'{"a": "1", "b": true}', None, "vocab.json: 'a' is not mapped to a whole number (and 1 more)"),
    "no-start": (_vocabulary(**{TOKENS[0]: ...}), None, "vocab.json: lacks <|startoftext|>"),
    "no-end": (_vocabulary(**{TOKENS[1]: ...}), None, "vocab.json: lacks <|endoftext|>"),
    "no-padding": (_vocabulary(**{"!": ...}), None, "vocab.json: lacks !"),
    "carriage-returns": (None, b"#version\r\na b</w>\r\n", "merges.txt: 2 carriage returns"),
    "no-last-line-end": (None, b"#version\na b</w>", "merges.txt: the last line does not end with LF"),
    "one-field": (None, b"#version\nab</w>\n", "merges.txt: line 2 is not two fields"),
    "three-fields": (None, b"a b</w>\n\na b c\nd\n", "merges.txt: line 3 is not two fields (and 1 more)"),
    "a-tab-is-no-blank": (None, b"a\tb</w>\n", "merges.txt: line 1 is not two fields"),
    "cut-off": (None, b"#version: 0.2\n", "merges.txt: has no merge for ab</w>, which vocab.json has"),
    "of-another-tokenizer": (None, b"a b</w>\na a\nb b\n", "merges.txt: makes aa, which vocab.json lacks (and 1 more)"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_bad_file_gives_its_line(name: str, tmp_path: Path) -> None:
    vocabulary, merges, expected = BAD[name]
    folder = write(tmp_path / "Resources", vocabulary, merges)
    (violation,) = check_tokenizer(folder, ["vocab.json", "merges.txt"], TOKENS)
    assert f"{violation.file}: {violation.what}".startswith(expected)
    assert "\n" not in str(violation)


def test_comments_empty_lines_and_more_blanks_are_read_over(tmp_path: Path) -> None:
    vocabulary = json.dumps(VOCABULARY | {"##</w>": 6, "<unk>": 7}).encode()
    folder = write(tmp_path / "Resources", vocabulary, b"#version: 0.2\n\n# # #\n# #</w>\na  b</w> \n")
    assert check_tokenizer(folder, ["vocab.json", "merges.txt"], TOKENS) == []


@pytest.mark.parametrize("damage", [lambda f: (f / "vocab.json").unlink(), lambda f: (f / "merges.txt").unlink()])
def test_a_bundle_needs_both_files(damage: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "workshop").mkdir()
    folder = Workshop(tmp_path / "workshop").folder(tmp_path / "Resources", xl())
    damage(folder)
    (violation,) = check_resources(folder, expectations("sdxl"))
    assert violation.what == "missing"
    assert not (folder / violation.file).exists()


def test_only_sdxl_needs_the_padding_token(tmp_path: Path) -> None:
    (tmp_path / "workshop").mkdir()
    folder = Workshop(tmp_path / "workshop").folder(tmp_path / "Resources", xl())
    (folder / "vocab.json").write_bytes(_vocabulary(**{"!": ...}))
    (violation,) = check_resources(folder, expectations("sdxl"))
    assert (violation.file, violation.what) == ("vocab.json", "lacks !")
