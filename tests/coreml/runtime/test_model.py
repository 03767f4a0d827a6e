"""How a model is opened and run: precision, memory, inputs, and what it says of anything that is wrong."""

import functools
import gc
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sdbuild.coreml.runtime.storage
import sdbuild.coreml.runtime.weights
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import Package, read_package
from sdbuild.coreml.runtime import InputError, ModelError, UnsupportedError, load
from sdbuild.coreml.runtime.from_mil_text import parse
from sdbuild.coreml.runtime.program import Immediate, Stored
from sdbuild.errors import UserError
from tests.coreml.runtime.support import IOS16, IOS17, IOS18, Array, assert_close, drawn, floats, mb, run, write

X = floats([2, 16], 1)
WEIGHT, OTHER = floats([32, 16], 2), floats([8, 32], 3)


def two_layers(x: Any) -> Any:
    return mb.linear(x=mb.relu(x=mb.linear(x=x, weight=WEIGHT)), weight=OTHER)


EXPECTED = np.maximum(X @ WEIGHT.T, 0) @ OTHER.T


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a package with its message changed."""
    copy = path.with_name(f"{path.stem}-changed.mlpackage")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    package = read_package(copy)
    change(package.spec)
    package.model_file.write_bytes(package.spec.SerializeToString())
    return copy


def block(package: Package | Any) -> Any:
    spec = package.spec if isinstance(package, Package) else package
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def weights_of(path: Path) -> Path:
    found = read_package(path).weights
    assert found is not None
    return found


def test_what_a_model_says_of_itself() -> None:
    model = load(write(two_layers, {"x": X}))
    assert {name: str(kind) for name, kind in model.inputs.items()} == {"x": "fp32 [2, 16]"}
    assert [str(kind) for kind in model.outputs.values()] == ["fp32 [2, 8]"]


def test_a_model_runs_again_and_again_and_leaves_its_inputs_alone() -> None:
    model, x = load(write(two_layers, {"x": X})), X.copy()
    first = next(iter(model.predict({"x": x}).values()))
    first += 1  # an output belongs to the caller
    second = next(iter(model.predict({"x": x}).values()))
    assert_close([second], [EXPECTED])
    np.testing.assert_array_equal(x, X)
    same = next(iter(load(write(lambda x: mb.identity(x=x), {"x": X})).predict({"x": x}).values()))
    same += 1
    np.testing.assert_array_equal(x, X)


# Precision


def half(x: Any) -> Any:
    return mb.cast(x=x, dtype="fp16")


def test_float32_widens_and_float16_overflows() -> None:
    def squares(x: Any) -> Any:
        return mb.cast(x=mb.sqrt(x=mb.square(x=half(x))), dtype="fp32")

    inputs = {"x": np.array([1.0, 200.0, 300.0], np.float32)}
    assert_close(run(squares, inputs), [inputs["x"]])
    assert_close(run(squares, inputs, precision="float16"), [np.array([1, 200, np.inf])])


def test_float16_rounds_after_each_operation() -> None:
    x = floats([64], 1, -9, 9)
    one, two = floats([64], 2).astype(np.float16), floats([64], 3).astype(np.float16)

    def body(x: Any) -> Any:
        return mb.exp(x=mb.add(x=mb.mul(x=half(x), y=one), y=two))

    stepwise = (x.astype(np.float16) * one).astype(np.float16)
    expected = np.exp(stepwise + two, dtype=np.float32).astype(np.float16)
    (actual,) = run(body, {"x": x}, precision="float16")
    assert actual.dtype == np.float16
    np.testing.assert_allclose(actual.astype(np.float32), expected.astype(np.float32), rtol=1.1e-3)
    (wide,) = run(body, {"x": x})
    assert wide.dtype == np.float32
    exact = np.exp(x.astype(np.float64) * one + two)
    np.testing.assert_allclose(wide, exact, rtol=1e-5)


def test_float16_rounds_inputs_and_each_output_of_an_operation() -> None:
    x = np.array([[1.0001, 2.0001], [3.0001, 1 / 3]], np.float32)
    parts = run(
        lambda x: mb.split(x=mb.mul(x=half(x), y=np.float16(1)), num_splits=2, axis=0), {"x": x}, precision="float16"
    )
    np.testing.assert_array_equal(np.concatenate(parts), x.astype(np.float16))


def test_float32_tensors_stay_so_in_float16_mode() -> None:
    assert_close(run(two_layers, {"x": X}, precision="float16"), [EXPECTED])


# Memory

ONE_LAYER = WEIGHT.nbytes + 4 * 32  # with its bias: what the larger layer needs at once


def test_weights_are_decoded_when_first_needed_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(monkeypatch)
    model = load(write(two_layers, {"x": X}))
    assert reads == []
    model.predict({"x": X})
    assert sorted(reads) == sorted([WEIGHT.shape, OTHER.shape])
    model.predict({"x": X})
    assert len(reads) == 2


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A list that grows by the shape of each weight that is read or decoded."""
    reads: list[tuple[int, ...]] = []
    array = sdbuild.coreml.runtime.weights.Source.array

    def counted(source: Any, *arguments: Any) -> Array:
        value = array(source, *arguments)
        if value.size > 99:
            reads.append(value.shape)
        return value

    monkeypatch.setattr(sdbuild.coreml.runtime.weights.Source, "array", counted)
    return reads


def half_layers(x: Any) -> Any:
    one, other = WEIGHT.astype(np.float16), OTHER.astype(np.float16)
    return mb.linear(x=mb.relu(x=mb.linear(x=half(x), weight=one)), weight=other)


@pytest.mark.parametrize(
    ("budget", "second_run"),
    [(0, 2), (ONE_LAYER, 2), (ONE_LAYER + OTHER.nbytes + 200, 1), (2 * ONE_LAYER + OTHER.nbytes + 200, 0)],
)
def test_a_byte_budget_keeps_what_fits(budget: int, second_run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(monkeypatch)
    model = load(write(half_layers, {"x": X}), decoded_bytes=budget)
    assert_close(list(model.predict({"x": X}).values()), [EXPECTED], 1e-3)
    reads.clear()
    assert_close(list(model.predict({"x": X}).values()), [EXPECTED], 1e-3)
    assert len(reads) == second_run


def test_weights_that_need_no_decoding_are_used_as_they_lie_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(monkeypatch)
    model = load(write(two_layers, {"x": X}), decoded_bytes=0)
    for _ in range(2):
        assert_close(list(model.predict({"x": X}).values()), [EXPECTED])
    assert len(reads) == 2


def test_decoded_weights_go_with_their_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not when the garbage collector comes by: the next model is decoded into their place."""
    constant, made = sdbuild.coreml.runtime.storage.Storage.constant, []

    def watched(*arguments: Any) -> Any:
        tensor = constant(*arguments)
        made.append(weakref.ref(tensor))
        return tensor

    model = load(write(half_layers, {"x": X}))
    monkeypatch.setattr(sdbuild.coreml.runtime.storage.Storage, "constant", watched)
    model.predict({"x": X})
    assert sum(tensor() is not None for tensor in made) >= 2
    gc.disable()
    try:
        del model
        assert not any(tensor() is not None for tensor in made)
    finally:
        gc.enable()


def test_values_are_dropped_after_their_last_use() -> None:
    """A long chain holds two tensors at a time, not all of them."""
    size = 1 << 20

    def chain(x: Any) -> Any:
        for _ in range(20):
            x = mb.add(x=x, y=np.float32(1))
        return x

    x = np.zeros(size, np.float32)
    model = load(write(chain, {"x": x}))
    with torch.profiler.profile(profile_memory=True) as profile:
        model.predict({"x": x})
    held = most = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    assert 0 < most <= 3 * 4 * size


def test_operations_of_constants_and_unused_ones_are_not_run() -> None:
    def body(x: Any) -> Any:
        mb.exp(x=x)
        shape = mb.concat(values=[mb.range_1d(start=4, end=5, step=1), mb.fill(shape=[1], value=8)], axis=0)
        return mb.reshape(x=x, shape=shape)

    model = load(write(body, {"x": X}))
    assert [step.where.split("(")[1].split()[0] for step in model._plan.steps] == ["reshape"]
    assert_close(list(model.predict({"x": X}).values()), [X.reshape(4, 8)])


# Fused layers


def group_norm(x: Any, epsilon: float = 1e-5) -> Any:
    shape = x.shape
    grouped = mb.reshape(x=x, shape=[shape[0], 4, shape[1] // 4, *shape[2:]])
    axes = list(range(2, len(shape) + 1))
    centred = mb.sub(x=grouped, y=mb.reduce_mean(x=grouped, axes=axes, keep_dims=True))
    variance = mb.reduce_mean(x=mb.square(x=centred), axes=axes, keep_dims=True)
    normal = mb.real_div(x=centred, y=mb.sqrt(x=mb.add(x=variance, y=np.float32(epsilon))))
    return mb.reshape(x=normal, shape=list(shape))


def attention(q: Any, k: Any, v: Any, left: bool, scaled: bool, masked: bool) -> Any:
    """In rows or in columns: queries [2, 3, 5, 8], or transposed."""
    scores = mb.matmul(x=q, y=k, transpose_x=left, transpose_y=not left)
    if scaled:
        scores = mb.mul(x=scores, y=np.float32(0.3))
    if masked:
        scores = mb.add(x=scores, y=floats([5, 6], 7))
    weights = mb.softmax(x=scores, axis=-1)
    return mb.matmul(x=v, y=weights, transpose_y=True) if left else mb.matmul(x=weights, y=v)


def split_attention(q: Any, k: Any, v: Any, scaled: bool) -> Any:
    scores = mb.einsum(values=(k, q), equation="nchw,nwhu->nchu")
    if scaled:
        scores = mb.mul(x=scores, y=np.float32(0.3))
    return mb.einsum(values=(v, mb.softmax(x=scores, axis=1)), equation="nchw,nwhu->nchu")


def heads(q: Any, k: Any, v: Any, *, pieces: int = 1, order: tuple[int, ...] = (0, 1, 2), last: float = 0.3) -> Any:
    """Three heads, each maybe for some of the queries at a time: as the Neural Engine's variants are written."""
    split = {name: mb.split(x=x, num_splits=3, axis=axis) for name, x, axis in (("q", q, 1), ("k", k, 3), ("v", v, 1))}
    found = []
    for head in order:
        queries = [split["q"][head]] if pieces == 1 else mb.split(x=split["q"][head], num_splits=pieces, axis=3)
        parts = []
        for index, piece in enumerate(queries):
            scores = mb.einsum(values=(split["k"][head], piece), equation="nchw,nwhu->nchu")
            scores = mb.mul(x=scores, y=np.float32(last if (head, index) == (2, pieces - 1) else 0.3))
            weights = mb.softmax(x=scores, axis=1)
            parts.append(mb.einsum(values=(split["v"][head], weights), equation="nchw,nwhu->nchu"))
        found.append(parts[0] if pieces == 1 else mb.concat(values=parts, axis=3))
    return mb.concat(values=found, axis=1)


HEADS = {"q": floats([2, 24, 1, 6], 1), "k": floats([2, 5, 1, 24], 2), "v": floats([2, 24, 1, 5], 3)}


def steps(path: Path, **options: Any) -> list[str]:
    plan = load(path, **options)._plan
    return [step.where.split("(")[1].split()[0] for step in plan.steps if step.where != "a weight"]


FUSED: dict[str, tuple[Any, dict[str, Array], str]] = {
    "group norm": (group_norm, {"x": floats([2, 8, 3, 5], 1, -1, 5)}, "fused_group_norm"),
    "group norm of a sequence": (group_norm, {"x": floats([2, 8, 7], 1, -1, 5)}, "fused_group_norm"),
    **{
        f"group norm and a batch norm of mean {mean}": (
            lambda x, mean=mean: mb.batch_norm(
                x=group_norm(x, 1e-3),
                mean=np.full(8, mean, np.float32),
                variance=np.ones(8, np.float32),
                gamma=floats([8], 2),
                beta=floats([8], 3),
                epsilon=np.float32(0),
            ),
            {"x": floats([2, 8, 3, 5], 1, -1, 5)},
            "fused_group_norm_affine",
        )
        for mean in (0, 1)
    },
    **{
        f"attention {'turned ' * left}{'scaled ' * scaled}{'masked' * masked}": (
            lambda q, k, v, left=left, scaled=scaled, masked=masked: attention(q, k, v, left, scaled, masked),
            {
                name: array.swapaxes(-1, -2).copy() if left else array
                for name, array in {
                    "q": floats([2, 3, 5, 8], 1),
                    "k": floats([2, 3, 6, 8], 2),
                    "v": floats([2, 3, 6, 8], 3),
                }.items()
            },
            "fused_attention",
        )
        for left in (False, True)
        for scaled in (False, True)
        for masked in (False, True)
    },
    **{
        f"split attention {'scaled' * scaled}": (
            lambda q, k, v, scaled=scaled: split_attention(q, k, v, scaled),
            {"q": floats([2, 8, 1, 5], 1), "k": floats([2, 6, 1, 8], 2), "v": floats([2, 8, 1, 6], 3)},
            "fused_split_attention",
        )
        for scaled in (False, True)
    },
    **{
        f"heads, queries in {pieces}": (
            lambda q, k, v, pieces=pieces: heads(q, k, v, pieces=pieces),
            HEADS,
            "fused_heads",
        )
        for pieces in (1, 2, 3)
    },
}


@pytest.mark.parametrize("name", FUSED)
def test_fused_layers_compute_the_same(name: str) -> None:
    body, inputs, fused = FUSED[name]
    path = write(body, inputs)
    assert steps(path) == [fused]
    # The programs are of float32, so this runs them as they are written, without rounding anything.
    assert fused not in steps(path, precision="float16")
    written = load(path, precision="float16").predict(inputs)
    assert_close(list(load(path).predict(inputs).values()), list(written.values()), 1e-5)


@pytest.mark.parametrize(
    "how", [{"order": (0, 2, 1)}, {"order": (0, 1)}, {"last": 0.7}, {"pieces": 2, "last": 0.7}], ids=str
)
def test_heads_that_are_not_all_of_one_attention_stay_apart(how: dict[str, Any]) -> None:
    path = write(lambda q, k, v: heads(q, k, v, **how), HEADS)
    assert "fused_heads" not in steps(path)
    written = load(path, precision="float16").predict(HEADS)
    assert_close(list(load(path).predict(HEADS).values()), list(written.values()), 1e-5)


@pytest.mark.parametrize(
    "body",
    [
        lambda x: mb.softmax(x=mb.matmul(x=x, y=x, transpose_y=True), axis=-1),
        lambda x: mb.matmul(x=mb.softmax(x=mb.matmul(x=x, y=x, transpose_y=True), axis=-2), y=x),
        lambda x: mb.matmul(x=mb.softmax(x=mb.add(x=x, y=x), axis=-1), y=x, transpose_y=True),
        lambda x: mb.batch_norm(x=x, mean=floats([3], 1), variance=floats([3], 2, 1), epsilon=np.float32(0)),
    ],
)
def test_what_only_looks_like_it_is_not_fused(body: Any) -> None:
    x = floats([2, 3, 4, 5])
    path = write(body, {"x": x})
    assert not any(step.startswith("fused") for step in steps(path))


def test_pointwise_convolutions_of_any_layout() -> None:
    """Sequences are kept channels last between operations; no order of operations may show it."""
    one, two, kernel = floats([8, 6, 1, 1], 1), floats([6, 8, 1, 1], 2), floats([6, 6, 3, 3], 3)
    bias = floats([8], 4)

    def body(x: Any) -> Any:
        sequence = mb.reshape(x=x, shape=[2, 6, 1, 20])
        normal = mb.layer_norm(x=sequence, axes=[1], gamma=floats([6], 5), beta=floats([6], 6))
        out = mb.conv(x=mb.conv(x=normal, weight=one, bias=bias, pad_type="valid"), weight=two, pad_type="valid")
        image = mb.reshape(x=mb.add(x=out, y=sequence), shape=[2, 6, 4, 5])
        image = mb.conv(x=mb.conv(x=image, weight=one, bias=bias, pad_type="valid"), weight=two, pad_type="valid")
        turned = mb.transpose(x=mb.conv(x=image, weight=kernel, pad_type="same"), perm=[0, 2, 3, 1])
        return mb.concat(values=(mb.reshape(x=turned, shape=[2, 120]), mb.reshape(x=image, shape=[2, 120])), axis=1)

    x = floats([2, 6, 4, 5])
    t = torch.from_numpy
    flat = t(x).flatten(2)
    normal = torch.nn.functional.layer_norm(flat.mT, [6], t(floats([6], 5)), t(floats([6], 6))).mT
    layer = lambda y: t(two[..., 0, 0]) @ (t(one[..., 0, 0]) @ y + t(bias)[:, None])  # noqa: E731
    image = layer(layer(normal) + flat).unflatten(2, (4, 5))
    turned = torch.nn.functional.conv2d(image, t(kernel), padding=1).permute(0, 2, 3, 1)
    expected = torch.cat([turned.reshape(2, 120), image.reshape(2, 120)], 1)
    assert_close(run(body, {"x": x}), [expected.numpy()])


# Inputs


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "x missing. The model takes x: fp32 [2, 16]"),
        ({"x": X, "y": X}, "y not known"),
        ({"X": X}, "x missing; X not known"),
        ({"x": X[0]}, "input x: has shape [16], the model takes fp32 [2, 16]"),
        ({"x": X.T}, "input x: has shape [16, 2]"),
        ({"x": X.astype(np.int32)}, "input x: is of type int32, the model takes fp32 [2, 16]"),
        ({"x": X > 0}, "input x: is of type bool"),
        ({"x": [["a"] * 16] * 2}, "input x: is of type <U1"),
    ],
)
def test_inputs_that_do_not_fit(inputs: dict[str, Any], message: str) -> None:
    model = load(write(two_layers, {"x": X}))
    with pytest.raises(InputError, match=re.escape(message)):
        model.predict(inputs)


def test_no_such_device_or_precision() -> None:
    path = write(two_layers, {"x": X})
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        load(path, device="abacus")
    with pytest.raises(InputError, match="precision 'float8': choose one of float32, float16"):
        load(path, precision="float8")  # type: ignore[arg-type]


def test_inputs_that_fit() -> None:
    model = load(write(two_layers, {"x": X}))
    for x in (X, X.astype(np.float64), np.asfortranarray(X), X.tolist()):
        assert_close(list(model.predict({"x": x}).values()), [EXPECTED])
    whole = load(write(lambda x: mb.add(x=x, y=1), {"x": np.zeros(2, np.int32)}))
    assert next(iter(whole.predict({"x": np.array([3, 4])}).values())).tolist() == [4, 5]
    with pytest.raises(InputError, match="input x: is of type int64, the model takes int32"):
        whole.predict({"x": np.array([3, 1 << 40])})


def test_flexible_shapes_are_checked() -> None:
    def flexible(spec: Any) -> None:
        for value in (spec.mlProgram.functions["main"].inputs[0], block(spec).operations[-1].outputs[0]):
            value.type.tensorType.dimensions[0].unknown.variadic = False
        array = spec.description.input[0].type.multiArrayType
        for low, high in ((1, 4), (16, 16)):
            array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)

    model = load(changed(write(lambda x: mb.relu(x=x), {"x": X}), flexible))
    assert str(model.inputs["x"]) == "fp32 [?, 16]"
    for rows in (1, 4):
        x = floats([rows, 16])
        assert_close(list(model.predict({"x": x}).values()), [np.maximum(x, 0)])
    with pytest.raises(
        InputError, match=re.escape("input x: has shape [5, 16], the model takes within [1..4, 16..16]")
    ):
        model.predict({"x": floats([5, 16])})


# Damage


def test_no_model_at_all(tmp_path: Path) -> None:
    for path in (tmp_path / "none.mlpackage", tmp_path / "none.mlmodelc", tmp_path):
        with pytest.raises(UserError, match=re.escape(str(path))):
            load(path)
    (tmp_path / "x.mlpackage").mkdir()
    with pytest.raises(UserError, match="Manifest"):
        load(tmp_path / "x.mlpackage")


def test_a_damaged_message() -> None:
    package = read_package(changed(write(two_layers, {"x": X}), lambda spec: None))
    package.model_file.write_bytes(package.model_file.read_bytes()[:-40])
    with pytest.raises(UserError, match="damaged"):
        load(package.path)


@pytest.mark.parametrize("size", [10, 64, 200, 1000])
def test_truncated_weights(size: int) -> None:
    path = changed(write(two_layers, {"x": X}), lambda spec: None)
    file = weights_of(path)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match=re.escape(str(file))):
        load(path)


def test_missing_weights() -> None:
    path = changed(write(two_layers, {"x": X}), lambda spec: None)
    weights_of(path).unlink()
    with pytest.raises(ModelError, match="its values are in a weight file, and the model has none"):
        load(path)


def stored(spec: Any) -> Any:
    """The first constant in the weight file."""
    return next(
        each.attributes["val"] for each in block(spec).operations if each.attributes["val"].HasField("blobFileValue")
    )


def new_opset(spec: Any) -> None:
    function = spec.mlProgram.functions["main"]
    function.block_specializations["CoreML99"].CopyFrom(block(spec))
    function.opset = "CoreML99"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: setattr(stored(spec).blobFileValue, "offset", 1 << 40), "offset 1099511627776 is outside"),
        (lambda spec: setattr(stored(spec).blobFileValue, "offset", 72), "no weight record at offset 72"),
        (
            lambda spec: setattr(stored(spec).type.tensorType, "dataType", 10),
            "_weight_0): the program says fp16, the weight file float32",
        ),
        (
            lambda spec: setattr(stored(spec).type.tensorType.dimensions[0].constant, "size", 31),
            "fp32 [31, 16] takes 1984 bytes, the weight file has 2048",
        ),
        (lambda spec: setattr(stored(spec).blobFileValue, "fileName", "other.bin"), "weights in other.bin"),
        (lambda spec: spec.mlProgram.functions.clear(), "the program has no function 'main' (it has: none)"),
        (lambda spec: spec.ClearField("mlProgram"), "the model is of kind none"),
        (new_opset, "function 'main' is of the opset CoreML99, not ios15 or"),
        (lambda spec: setattr(block(spec).operations[-1], "type", "frobnicate"), "this operation is not supported"),
        (lambda spec: setattr(block(spec).operations[-1], "type", "conv"), "an input of rank 2"),
        (
            lambda spec: setattr(block(spec).operations[-1].inputs["x"].arguments[0], "name", "nobody"),
            "it reads nobody, which nothing before it computes",
        ),
        (lambda spec: block(spec).operations[-1].inputs.clear(), "the parameter x is missing"),
        (lambda spec: block(spec).outputs.append("nobody"), "its description names the outputs"),
        (
            lambda spec: spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges.add(upperBound=9),
            "its description has the input x as within [0..9], its program as fp32 [",
        ),
        (
            lambda spec: setattr(stored(spec).type.tensorType, "dataType", 99),
            "the data type number 99 is not supported",
        ),
        (lambda spec: spec.description.input.add(name="more"), "its description names the inputs ['more', 'x']"),
    ],
)
def test_a_program_that_contradicts_itself(change: Callable[[Any], None], message: str) -> None:
    path = changed(write(two_layers, {"x": X}, IOS17), change)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load(path)
    assert str(path) in str(caught.value)


def everything(x: Any) -> Any:
    """A bit of all kinds: weights in the file, constants in the program, several outputs, fused layers."""
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    normal = group_norm(mb.conv(x=x, weight=floats([8, 8, 3, 3], 1), pad_type="same", bias=floats([8], 2)))
    one, two = mb.split(x=normal, split_sizes=[3, 5], axis=1)
    picked = mb.gather(x=table, indices=mb.cast(x=mb.reduce_sum(x=one, axes=[1, 2]), dtype="int32"), axis=0)
    rows = mb.reshape(x=mb.slice_by_index(x=two, begin=[0, 1, 0, 0], end=[2, 5, 3, 4]), shape=[2, 4, 3, -1])
    return attention(rows, rows, rows, False, True, False), mb.clip(x=picked, alpha=np.float32(0), beta=np.float32(1))


def nested(x: Any) -> Any:
    """Branches that read and write a list and a weight. (No loop: damage could make it endless.)"""
    ls = mb.list_write(ls=mb.make_list(init_length=2, elem_shape=x.shape), index=1, value=mb.relu(x=x))
    rows = mb.reshape(x=x, shape=[-1, 4])
    return mb.cond(
        pred=mb.greater(x=mb.reduce_sum(x=x, axes=[0, 1, 2, 3]), y=np.float32(0)),
        _true_fn=lambda: mb.reshape(x=mb.list_gather(ls=ls, indices=np.array([1, 1], np.int32)), shape=[2, -1, 4]),
        _false_fn=lambda: mb.stack(values=(mb.linear(x=rows, weight=floats([4, 4])), rows), axis=0),
    )


@pytest.mark.parametrize("body", [everything, nested])
@given(data=st.data())
@settings(drawn, max_examples=60)
def test_a_randomly_damaged_program_is_an_error_or_runs(body: Any, data: st.DataObject) -> None:
    x = np.zeros((2, 8, 3, 4), np.float32)
    path = _written(body)

    def damage(message: Any) -> None:
        """Change one thing somewhere below ``message``: drop it, or replace a number or a name."""
        fields = [(field, value) for field, value in message.ListFields() if field.name != "version"]
        if not fields:
            return
        field, value = data.draw(st.sampled_from(fields), label=str([each.name for each, _ in fields]))
        deeper = data.draw(st.integers(0, 5)) > 0
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key = data.draw(st.sampled_from(sorted(value)))
            damage(value[key]) if deeper else value.pop(key)
        elif field.is_repeated:
            index = data.draw(st.integers(0, len(value) - 1))
            damage(value[index]) if deeper and field.message_type is not None else value.pop(index)
        elif field.message_type is not None and deeper:
            damage(value)
        elif isinstance(value, int) and not isinstance(value, bool) and field.enum_type is None:
            setattr(message, field.name, data.draw(st.sampled_from([0, 1, 3, value + 1, 1 << 33])))
        elif isinstance(value, str):
            setattr(message, field.name, data.draw(st.sampled_from(["", "x", "conv", "ios99"])))
        else:
            message.ClearField(field.name)

    try:
        load(changed(path, lambda spec: damage(block(spec)))).predict({"x": x})
    except UserError as error:
        assert str(error)


@functools.cache
def _written(body: Any) -> Path:
    return write(body, {"x": np.zeros((2, 8, 3, 4), np.float32)})


def test_a_result_that_is_not_of_its_declared_shape() -> None:
    def widen(spec: Any) -> None:
        block(spec).operations[-1].outputs[0].type.tensorType.dimensions[0].constant.size = 3

    model = load(changed(write(two_layers, {"x": X}), widen))
    for _ in range(2):
        with pytest.raises(ModelError, match=re.escape("said to be fp32 [3, 8], but its result has shape [2, 8]")):
            model.predict({"x": X})


def test_an_unknown_operation_is_named_with_its_place() -> None:
    path = changed(write(two_layers, {"x": X}), lambda spec: setattr(block(spec).operations[-1], "type", "frobnicate"))
    with pytest.raises(UnsupportedError, match=r"function 'main', operation 6 \(frobnicate -> linear_\d+\)"):
        load(path)


def test_an_index_out_of_range_is_an_error() -> None:
    table, indices = floats([5, 3]), np.array([1, 7], np.int32)
    with pytest.raises(ModelError, match=r"operation \d+ \(gather -> .*\): an index of 7 into a dimension of 5"):
        run(lambda i: mb.gather(x=table, indices=i, axis=0), {"i": indices})


# Compiled models


@pytest.mark.parametrize("opset", [IOS16, IOS17, IOS18], ids=["ios16", "ios17", "ios18"])
def test_the_text_of_a_program_is_the_program(opset: Any, tmp_path: Path) -> None:
    table = floats([5, 8]).astype(np.float16)

    def body(x: Any, i: Any) -> Any:
        scores = mb.matmul(x=x, y=mb.gather(x=table, indices=i, axis=0), transpose_y=True)
        first, second = mb.split(x=mb.softmax(x=scores, axis=-1), split_sizes=[1, 3], axis=1)
        joined = mb.concat(values=(second, first), axis=1)
        special = np.array([np.inf, -np.inf, 6e-8, -0.0], np.float16)
        return mb.select(cond=mb.greater(x=joined, y=np.float16(0.2)), a=joined, b=special)

    x = floats([3, 8]).astype(np.float16)
    inputs = {"x": x, "i": np.array([0, 4, 2, 2], np.int32)}
    package = write(body, inputs, opset)
    described = changed(package, describe)
    compile_package(described, tmp_path / "model.mlmodelc")
    one, other = load(described).predict(inputs), load(tmp_path / "model.mlmodelc").predict(inputs)
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def describe(spec: Any) -> None:
    """Complete the description, which the compiler copies: types of the features, from the program."""
    kinds = {10: 65552, 11: 65568, 23: 131104}
    function = spec.mlProgram.functions["main"]
    values = {value.name: value.type.tensorType for value in function.inputs}
    for operation in block(spec).operations:
        values.update((output.name, output.type.tensorType) for output in operation.outputs)
    for feature in [*spec.description.input, *spec.description.output]:
        array = feature.type.multiArrayType
        array.dataType = kinds[values[feature.name].dataType]
        array.shape.extend(each.constant.size for each in values[feature.name].dimensions)


PROGRAM = """program(1.3)
[buildInfo = dict<string, string>({{"a]", "[b"}})]
{
    func main<ios18>(tensor<fp16, [1, ?]> x, int32 n) [FlexibleShapeInformation = tuple<string>(("]"))] {
            string text = const()[name = string("t"), val = string("a \\"quoted\\" ) text")];
            tensor<fp16, [2, 2]> m = const()[name = string("m"), val = tensor<fp16, [2, 2]>([[0x1p+0, -inf], [nan, 0.5]])];
            tensor<uint4, [3]> q = const()[name = string("q"), val = tensor<uint4, [3]>([1, 2, 15])];
            bool no = const()[name = string("no"), val = bool(false)];
            tensor<fp16, [4, 8]> w = const()[name = string("w"), val = tensor<fp16, [4, 8]>(BLOBFILE(
                path = string("@model_path/weights/weight.bin"), offset = uint64(64)))];
            tensor<fp16, [1, ?]> a, tensor<int32, [1, ?]> b = topk(k = n, x = (x, x), axis = int32(1))[name = string("a")];
        } -> (a, b);
}"""


def test_the_grammar() -> None:
    function = parse(PROGRAM, "model.mil")
    assert (function.name, function.opset, function.block.outputs) == ("main", "ios18", ["a", "b"])
    assert [str(value.type) for value in function.inputs] == ["fp16 [1, ?]", "int32 []"]
    values = {each.outputs[0].name: each.attributes.get("val") for each in function.block.operations}
    constants = {name: value.value for name, value in values.items() if isinstance(value, Immediate)}
    assert constants["text"] == 'a "quoted" ) text'
    np.testing.assert_array_equal(constants["m"], np.array([[1, -np.inf], [np.nan, 0.5]], np.float16))
    np.testing.assert_array_equal(constants["q"], [1, 2, 15])
    assert not constants["no"]
    assert values["w"] == Stored(function.block.operations[4].outputs[0].type, 64)
    last = function.block.operations[-1]
    assert (last.type, last.index, [value.name for value in last.outputs]) == ("topk", 5, ["a", "b"])
    assert last.inputs["k"] == ["n"] and last.inputs["x"] == ["x", "x"]
    assert isinstance(last.inputs["axis"][0], Immediate)


@pytest.mark.parametrize("end", range(0, len(PROGRAM) - 2, 37))
def test_a_text_cut_anywhere_is_an_error(end: int) -> None:
    with pytest.raises(ModelError, match=r"model\.mil.*: "):
        parse(PROGRAM[:end], "model.mil")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("uint4, [3]>([", "uint4, [³]>([", "line 7: '³' is no size"),
        ("[1, 2, 15]", "[1, 2]", "line 7: these are not the values of a uint4 [3]"),
        ("bool(false)", "bool(0)", "line 8: these are not the values of a bool []"),
        ("string no", "state<int32> no", "model.mil"),
        ("@model_path/weights/weight.bin", "elsewhere.bin", "line 10: weights in a file other than"),
        ('a")];', 'a")] { };', "line 11: topk holds a block of operations"),
        ("-> (a, b);\n", "-> (a, b);\n func main<ios18>() {} -> ();\n", "the function 'main' is there twice"),
        ("uint64(64)", f"uint64({'9' * 5000})", "line 10: a number of 5000 digits"),
        ("[1, ?]> a", f"[1, {'9' * 5000}]> a", "line 11: a number of 5000 digits"),
        ("[1, ?]> a", "[1, ²]> a", "line 11: '²' is no size"),
        ("func main", "func other", "the program has no function 'main' (it has: other)"),
    ],
)
def test_a_text_with_something_unknown_in_it(old: str, new: str, message: str) -> None:
    text = PROGRAM.replace("bool no", "string no") if old == "string no" else PROGRAM
    assert old in text
    with pytest.raises(ModelError, match=re.escape(message)):
        parse(text.replace(old, new, 1), "model.mil")


def test_a_compiled_model_without_its_description(tmp_path: Path) -> None:
    described = changed(write(lambda x: mb.relu(x=x), {"x": X}), describe)
    compile_package(described, tmp_path / "model.mlmodelc")
    data = tmp_path / "model.mlmodelc" / "coremldata.bin"
    data.write_bytes(data.read_bytes()[:90])
    with pytest.raises(ModelError, match=re.escape(f"{data.parent}: coremldata.bin: cannot be read")):
        load(tmp_path / "model.mlmodelc")
