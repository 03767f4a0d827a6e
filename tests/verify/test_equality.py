"""What is taken for the same program computes the same, and nothing else is taken for it."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.blob import BlobReader
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import Package, read_package
from sdbuild.coreml.runtime import ModelError, load
from sdbuild.verify.equality import same_program
from sdbuild.verify.measure import measure, unchanged
from sdbuild.verify.metrics import CEILING
from sdbuild.verify.pipeline import Pipeline, Subject
from sdbuild.verify.recording import run_originals
from tests.coreml.runtime.support import mb, write
from tests.verify.breaking import broken, renamed
from tests.verify.built import compiled, finished
from tests.verify.test_shapes import FAULTS, GENERATION

X = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)


def half(x: Any) -> Any:
    return mb.cast(x=x, dtype="fp16")


@pytest.fixture(scope="module")
def reads(request: pytest.FixtureRequest) -> Any:
    """Counts the weights that are read to be compared."""
    found: list[int] = []
    stream = BlobReader.stream

    def counted(reader: BlobReader, blob: Any) -> Any:
        found.append(len(blob.data))
        return stream(reader, blob)

    patch = pytest.MonkeyPatch()
    patch.setattr(BlobReader, "stream", counted)
    request.addfinalizer(patch.undo)
    return found


def test_compiling_and_chunking_change_no_program(subjects: dict[str, Subject], tmp_path: Path) -> None:
    unet = finished(tmp_path, subjects["unet"], bits=4, chunked=True)
    assert unchanged(unet) == {"chunk", "compile"}
    for name in ("text_encoder", "vae_decoder", "vae_encoder"):
        assert unchanged(subjects[name]) == {"compile"}


def test_what_is_not_run_is_reported_as_if_it_were(subjects: dict[str, Subject]) -> None:
    unet = subjects["unet"]
    cases, runs = run_originals(Pipeline([unet], GENERATION), lambda: None)["unet"], []
    skipped = measure(unet, unchanged(unet), cases, "float32", lambda: runs.append(1))
    assert len(runs) == len(cases)
    assert [stage.run for stage in skipped] == [True, False, False]
    run = measure(unet, (), cases, "float32", lambda: None)
    for one, other in zip(run, skipped, strict=True):
        assert one.run
        assert one.own_psnr == other.own_psnr
        assert one.psnr == other.psnr
    assert run[1].own_psnr == CEILING


def test_weights_behind_hard_links_are_not_read(subjects: dict[str, Subject], tmp_path: Path, reads: list[int]) -> None:
    package = subjects["vae_decoder"].stages["convert"][0]
    linked, copied = tmp_path / "linked.mlmodelc", compiled(package)
    compile_package(package, linked, weights="link")
    reads.clear()
    assert same_program([package], [linked], ["image"])
    assert not reads
    assert same_program([package], [copied], ["image"])
    assert sum(reads) == 2 * sum(dict(_weights(package)).values())


def _weights(package: Path) -> list[tuple[int, int]]:
    """Place and size of each weight in a package's file."""
    opened = read_package(package)
    function = opened.spec.mlProgram.functions["main"]
    assert opened.weights is not None
    reader = BlobReader(opened.weights)
    values = [
        value
        for operation in function.block_specializations[function.opset].operations
        for value in operation.attributes.values()
        if value.WhichOneof("value") == "blobFileValue"
    ]
    return [(value.blobFileValue.offset, len(reader.read(value.blobFileValue.offset).data)) for value in values]


@pytest.mark.parametrize("what", list(FAULTS))
def test_no_fault_goes_unseen(what: str, subjects: dict[str, Subject], tmp_path: Path) -> None:
    name, fault = FAULTS[what]
    package = subjects[name].stages["convert"][0]
    outputs = subjects[name].outputs
    faulty = broken(package, tmp_path, fault)
    assert not same_program([package], [faulty], outputs)
    assert not same_program([package], [compiled(faulty)], outputs)
    assert same_program([faulty], [compiled(faulty)], outputs)


def test_a_bit_of_a_weight_in_a_chunk_is_seen(subjects: dict[str, Subject], tmp_path: Path) -> None:
    unet = subjects["unet"]
    (whole,), (first, second) = unet.stages["convert"], unet.stages["chunk"]
    assert same_program([whole], [first, second], unet.outputs)
    assert not same_program([whole], [second, first], unet.outputs)
    assert not same_program([whole], [first], unet.outputs)
    copy = shutil.copytree(second, tmp_path / second.name)
    offset, size = _weights(copy)[-1]
    with (copy / "Data/com.apple.CoreML/weights/weight.bin").open("r+b") as file:
        file.seek(offset + 64 + size - 1)  # after the record
        (last,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([last ^ 1]))
    assert not same_program([whole], [first, copy], unet.outputs)


def test_other_names_outside_are_another_model(subjects: dict[str, Subject], tmp_path: Path) -> None:
    decoder = subjects["vae_decoder"]
    (package,) = decoder.stages["convert"]
    other = broken(package, tmp_path, renamed("z", "latent"))
    assert not same_program([package], [other], decoder.outputs)
    assert unchanged(replace(decoder, stages={"convert": [package], "compile": [compiled(other)]})) == set()


def test_only_what_was_widened_is_narrowed_without_loss() -> None:
    """A number that was computed in float32 is another one when it is taken up as float16."""

    def whole(x: Any) -> Any:
        return mb.cast(x=mb.exp(x=mb.relu(x=half(x))), dtype="fp32", name="y")

    def first(x: Any) -> Any:
        return mb.cast(x=mb.relu(x=half(x)), dtype="fp32", name="link")

    def first_in_float32(x: Any) -> Any:
        return mb.relu(x=x, name="link")

    def second(link: Any) -> Any:
        return mb.cast(x=mb.exp(x=link), dtype="fp32", name="y")

    narrow = {"link": X.astype(np.float16)}
    model, head, rest = write(whole, {"x": X}), write(first, {"x": X}), write(second, narrow)
    assert same_program([model], [head, rest], ["y"])
    assert not same_program([model], [write(first_in_float32, {"x": X}), rest], ["y"])
    assert not same_program([model], [head, write(second, {"link": X})], ["y"])


def test_a_chunk_that_is_particular_about_what_it_is_given(tmp_path: Path) -> None:
    def whole(x: Any) -> Any:
        return mb.exp(x=mb.relu(x=x), name="y")

    def first(x: Any) -> Any:
        return mb.relu(x=x, name="link")

    def second(link: Any) -> Any:
        return mb.exp(x=link, name="y")

    def limit(package: Package) -> None:
        (feature,) = package.spec.description.input
        feature.type.multiArrayType.enumeratedShapes.shapes.add(shape=[1, 32])
        package.model_file.write_bytes(package.spec.SerializeToString(deterministic=True))

    model, head, rest = write(whole, {"x": X}), write(first, {"x": X}), write(second, {"link": X})
    assert same_program([model], [head, rest], ["y"])
    assert not same_program([model], [head, broken(rest, tmp_path, limit)], ["y"])


@pytest.mark.parametrize(
    "other",
    [
        lambda x: mb.sub(x=mb.exp(x=x), y=mb.relu(x=x), name="y"),
        lambda x: mb.sub(x=mb.relu(x=x), y=mb.relu(x=x), name="y"),
        lambda x: mb.sub(x=mb.relu(x=x), y=mb.exp(x=mb.mul(x=x, y=np.float32(1))), name="y"),
        lambda x: mb.add(x=mb.relu(x=x), y=mb.exp(x=x), name="y"),
        lambda x: (mb.sub(x=mb.relu(x=x), y=mb.exp(x=x), name="y"), mb.tanh(x=x)),
    ],
    ids=["arguments turned", "another argument", "one operation more", "another operation", "a further output"],
)
def test_programs_that_differ_in_one_thing(other: Any) -> None:
    def body(x: Any) -> Any:
        return mb.sub(x=mb.relu(x=x), y=mb.exp(x=x), name="y")

    def in_another_order(x: Any) -> Any:
        exponential = mb.exp(x=x, name="named")
        return mb.sub(x=mb.relu(x=x), y=exponential, name="y")

    model = write(body, {"x": X})
    assert same_program([model], [write(in_another_order, {"x": X})], ["y"])
    assert not same_program([model], [write(other, {"x": X})], ["y"])


def test_of_programs_with_branches_nothing_is_claimed() -> None:
    def body(x: Any) -> Any:
        return mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x, axes=[0, 1]), y=np.float32(0)),
            _true_fn=lambda: mb.exp(x=x),
            _false_fn=lambda: mb.relu(x=x),
            name="y",
        )

    model = write(body, {"x": X})
    assert not same_program([model], [model], ["y"])


def test_of_programs_that_give_a_name_twice_nothing_is_claimed(tmp_path: Path) -> None:
    """They are one by what is computed of what, but such a program cannot be run."""

    def body(x: Any) -> Any:
        return mb.sub(x=mb.tanh(x=mb.exp(x=mb.relu(x=x, name="first")), name="second"), y=x, name="y")

    model = write(body, {"x": X})
    twice = broken(model, tmp_path, renamed("second", "first"))
    with pytest.raises(ModelError, match="the name first is given to two values"):
        load(twice)
    assert not same_program([model], [twice], ["y"])
