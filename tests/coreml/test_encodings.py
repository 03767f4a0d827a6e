"""Every form of a weight: written, read by sdbuild's runtime and by coremltools, packaged and compiled."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.encodings import Codes, Dense, Encoding, Palette, Quantized, Sparse
from sdbuild.coreml.package import Package, read_package
from sdbuild.coreml.rewrite import rewrite
from sdbuild.coreml.runtime import load
from tests.coreml.compiler.models import Builder, tensor_type

SHAPE = (4, 6, 2)
Case = tuple[Encoding, np.ndarray]
"""An encoding, and what it stands for, computed here with nothing but NumPy."""


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def codes(values: np.ndarray, kind: str) -> Codes:
    """Packed bit by bit, another way than the code under test does."""
    width = int(kind.lstrip("uint"))
    bits = (values.reshape(-1, 1).astype(np.int64) >> np.arange(width)) & 1
    return Codes(kind, np.packbits(bits.astype(np.uint8), bitorder="little"), values.shape)


def halves(*shape: int, seed: int = 0) -> np.ndarray:
    return random(seed).standard_normal(shape).astype(np.float16)


def repeated(parameter: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One for each block, spread over its elements."""
    for axis, size in enumerate(shape):
        parameter = np.repeat(parameter, size // parameter.shape[axis], axis)
    return parameter


def indices(bits: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return random(bits).integers(0, 1 << bits, shape)


def palette(bits: int, groups: tuple[int, ...] = (1, 1, 1), dtype: Any = np.float16) -> Case:
    found = indices(bits)
    tables = random(1).uniform(-100, 100, (*groups, 1 << bits, 1)).astype(dtype)
    group_of = [place * count // size for place, count, size in zip(np.indices(SHAPE), groups, SHAPE, strict=True)]
    return Palette(codes(found, f"uint{bits}"), tables), tables[(*group_of, found, 0)]


def vectors(bits: int, axis: int) -> Case:
    """Two elements an index, along an axis; two groups along the first."""
    shape = tuple(size // 2 if each == axis else size for each, size in enumerate(SHAPE))
    found, tables = indices(bits, shape), halves(2, 1, 1, 1 << bits, 2)
    values = np.empty(SHAPE, np.float16)
    for place in itertools.product(*map(range, SHAPE)):
        at = tuple(p // 2 if each == axis else p for each, p in enumerate(place))
        values[place] = tables[at[0] * 2 // shape[0], 0, 0, found[at], place[axis] % 2]
    return Palette(codes(found, f"uint{bits}"), tables, axis), values


def quantized(kind: str, blocks: tuple[int, ...], offset: bool, dtype: Any = np.float16) -> Case:
    width = int(kind.lstrip("uint"))
    low = 0 if kind.startswith("u") else -(1 << width - 1)
    stored = random(2).integers(low, low + (1 << width), SHAPE)
    scale = random(3).uniform(0.01, 0.1, blocks).astype(dtype)
    zeros = random(4).integers(low, low + (1 << width), blocks) if offset else np.zeros(blocks, np.int64)
    # their difference and its product with a half are exact in double precision: one rounding is left
    values = (stored - repeated(zeros, SHAPE)) * repeated(scale, SHAPE).astype(np.float64)
    return Quantized(codes(stored, kind), scale, codes(zeros, kind) if offset else None), values.astype(dtype)


def sparse(case: Case | None = None) -> Case:
    """A third of a case's elements, or of plain numbers."""
    mask = random(5).random(SHAPE) < 1 / 3
    encoding, values = case or (Dense(halves(*SHAPE)), halves(*SHAPE))
    return Sparse(codes(mask, "uint1"), _kept(encoding, mask)), np.where(mask, values, 0).astype(values.dtype)


def _kept(encoding: Encoding, mask: np.ndarray) -> Any:
    match encoding:
        case Dense(data):
            return Dense(data[mask])
        case Palette(found, tables, axis):
            return Palette(_chosen(found, mask), tables, axis)
        case Quantized(Codes() as found, scale, offset):
            return Quantized(_chosen(found, mask), scale, offset)
        case Quantized(Palette() as inner, scale, offset):
            return Quantized(_kept(inner, mask), scale, offset)
    raise TypeError(encoding)


def _chosen(found: Codes, mask: np.ndarray) -> Codes:
    width = found.bits
    bits = np.unpackbits(found.packed, bitorder="little")[: mask.size * width].reshape(-1, width)[mask.reshape(-1)]
    return Codes(found.type, np.packbits(bits, bitorder="little"), (int(mask.sum()),))


def sparse_vectors() -> Case:
    """Pairs of elements along the last axis are kept or not."""
    encoding, values = vectors(2, 2)
    assert isinstance(encoding, Palette)
    mask = random(6).random(encoding.indices.shape) < 0.5
    kept = Palette(_chosen(encoding.indices, mask), encoding.tables, 2)
    return Sparse(codes(mask, "uint1"), kept), np.where(np.repeat(mask, 2, 2), values, 0).astype(np.float16)


def table_of_codes() -> Case:
    """A palette of int8, scaled by blocks."""
    inner, values = palette(4, (2, 1, 1), np.int8)
    assert isinstance(inner, Palette)
    scale = random(7).uniform(0.01, 0.1, (4, 3, 1)).astype(np.float16)
    return Quantized(inner, scale), (values * repeated(scale, SHAPE).astype(np.float64)).astype(np.float16)


EARLY: dict[str, Callable[[], Case]] = {
    "dense": lambda: (Dense(halves(*SHAPE)), halves(*SHAPE)),
    "single": lambda: (Dense(random().random(SHAPE, np.float32)), random().random(SHAPE, np.float32)),
    "cast": lambda: (Dense(halves(*SHAPE)), halves(*SHAPE).astype(np.float32)),
    **{f"palette {bits}": lambda bits=bits: palette(bits) for bits in (1, 2, 4, 6, 8)},  # type: ignore[misc]
    "palette of singles": lambda: palette(6, dtype=np.float32),
    "int8": lambda: quantized("int8", (1, 1, 1), offset=False),
    "uint8 with offsets": lambda: quantized("uint8", (4, 1, 1), offset=True),
    "int8 along another axis": lambda: quantized("int8", (1, 6, 1), offset=True),
    "int8 of singles": lambda: quantized("int8", (4, 1, 1), offset=False, dtype=np.float32),
    "sparse": sparse,
}
LATE: dict[str, Callable[[], Case]] = {
    "palette 3": lambda: palette(3),
    "palettes in groups": lambda: palette(4, (2, 3, 1)),
    "vectors along 0": lambda: vectors(3, 0),
    "vectors along 2": lambda: vectors(2, 2),
    "int4 in blocks": lambda: quantized("int4", (4, 3, 1), offset=False),
    "uint4 in blocks": lambda: quantized("uint4", (1, 2, 2), offset=True),
    "uint8 in blocks": lambda: quantized("uint8", (4, 6, 2), offset=True),
    "table of codes": table_of_codes,
    "sparse palette": lambda: sparse(palette(3, (2, 1, 1))),
    "sparse int8": lambda: sparse(quantized("int8", (4, 1, 1), offset=False)),
    "sparse uint4 in blocks": lambda: sparse(quantized("uint4", (4, 3, 1), offset=True)),
    "sparse vectors": sparse_vectors,
    "sparse table of codes": lambda: sparse(table_of_codes()),
}
NOT_BY_COREMLTOOLS = {"sparse table of codes"}  # its decoder takes no indices from another operation
CASES = [
    *((opset, name) for opset in ("CoreML6", "CoreML7", "CoreML8") for name in EARLY),
    *(("CoreML8", name) for name in LATE),
]


def written(opset: str, encoding: Encoding, values: np.ndarray, path: Path) -> Package:
    """A model that adds a weight, in that form, to its input; a value has the name that an intermediate one might get."""
    kind = values.dtype.name.upper()
    model = Builder(opset)
    model.input("x", kind, values.shape)
    model.const("w", model.blob(kind, values.shape))
    whole = [tensor_type(kind, values.shape)]
    model.op("add", "w_palettized", whole, {"x": "x", "y": "w"})
    model.op("identity", "y", whole, {"x": "w_palettized"})
    model.output("y", kind, values.shape)
    source = read_package(model.package(path / "source.mlpackage"))
    return rewrite(source, path / "model.mlpackage", lambda weight: encoding, lambda done, total: None)


@pytest.mark.parametrize(("opset", "name"), CASES)
def test_what_is_written_is_read_as_it_was_meant(opset: str, name: str, tmp_path: Path) -> None:
    encoding, values = (EARLY | LATE)[name]()
    package = written(opset, encoding, values, tmp_path)
    feed = {"x": np.zeros(values.shape, values.dtype)}
    np.testing.assert_array_equal(load(package.path).predict(feed)["y"], values)
    compile_package(package.path, tmp_path / "model.mlmodelc")
    np.testing.assert_array_equal(load(tmp_path / "model.mlmodelc").predict(feed)["y"], values)
    if name not in NOT_BY_COREMLTOOLS:
        np.testing.assert_array_equal(_by_coremltools(package), values)


def _by_coremltools(package: Package) -> np.ndarray:
    """The weight, from the package as coremltools reads it."""
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil

    assert package.weights is not None
    program = load_mil(package.spec, package.spec.specificationVersion, str(package.weights.parent))
    (taker,) = program.functions["main"].find_ops(op_type="add")
    weight = taker.y
    found: np.ndarray = weight.val if weight.val is not None else weight.op.materialized_val_inference()
    return found


@pytest.mark.parametrize("opset", ["CoreML6", "CoreML7"])
@pytest.mark.parametrize("name", LATE)
def test_what_an_opset_has_no_form_for_is_refused(opset: str, name: str, tmp_path: Path) -> None:
    encoding, values = LATE[name]()
    with pytest.raises(ValueError, match=f"^w: .* in {opset}, which has no form for them"):
        written(opset, encoding, values, tmp_path)


@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        (Dense(halves(4, 6)), halves(*SHAPE)),
        (Dense(random().random(SHAPE, np.float32)), halves(*SHAPE)),
        (palette(2)[0], halves(*SHAPE).astype(np.float32)),
    ],
    ids=["shape", "singles for halves", "halves for singles"],
)
def test_another_tensor_than_the_weight_is_refused(encoding: Encoding, values: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^w: float(16|32) \[.*\] for a weight of FLOAT(16|32) \[4, 6, 2\]"):
        written("CoreML8", encoding, values, tmp_path)


def test_intermediate_values_have_names_of_their_own(tmp_path: Path) -> None:
    package = written("CoreML8", *sparse(palette(3)), tmp_path)
    function = package.spec.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    names = [output.name for operation in operations for output in operation.outputs]
    assert len(set(names)) == len(names) == 5
    assert [operation.type for operation in operations][:2] == ["constexpr_lut_to_sparse", "constexpr_sparse_to_dense"]
