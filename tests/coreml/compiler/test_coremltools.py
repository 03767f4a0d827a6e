"""Packages as coremltools writes them: the text, read back, is the program that was compiled."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import read_package
from tests.coreml.compiler.mil_parser import Parser, bare

warnings.filterwarnings("ignore")
ct = pytest.importorskip("coremltools")
mb = pytest.importorskip("coremltools.converters.mil").Builder
cto = pytest.importorskip("coremltools.optimize").coreml

WEIGHT = np.random.default_rng(0).standard_normal((32, 16, 3, 3))


def model(target: str) -> Any:
    """A program with a weight, a softmax, several outputs, a variadic input and a reduction, for "iOS16"."""
    opset = getattr(ct.target, target)

    @mb.program(input_specs=[mb.TensorSpec((1, 16, 8, 8)), mb.TensorSpec((2,))], opset_version=opset)
    def program(x: Any, shift: Any) -> Any:
        y = mb.conv(x=x, weight=WEIGHT.astype(np.float32), pad_type="same")
        first, second = mb.split(x=mb.softmax(x=y, axis=1), num_splits=2, axis=1)
        z = mb.concat(values=[first, second, x], axis=1)
        z = mb.add(x=mb.reduce_mean(x=z, axes=[2, 3], keep_dims=False), y=mb.reduce_sum(x=shift, keep_dims=True))
        indices = mb.reduce_argmax(x=z, axis=1)
        return mb.gather(x=z, indices=np.array([3, 1], np.int32), axis=1), indices

    return ct.convert(program, minimum_deployment_target=opset, compute_precision=ct.precision.FLOAT16)


def palettized(bits: int, **options: Any) -> Callable[[Any], Any]:
    config = cto.OpPalettizerConfig(nbits=bits, weight_threshold=0, **options)
    return lambda model: cto.palettize_weights(model, cto.OptimizationConfig(config))


def quantized(**options: Any) -> Callable[[Any], Any]:
    config = cto.OpLinearQuantizerConfig(weight_threshold=0, **options)
    return lambda model: cto.linear_quantize_weights(model, cto.OptimizationConfig(config))


def pruned(model: Any) -> Any:
    config = cto.OpMagnitudePrunerConfig(target_sparsity=0.75, weight_threshold=0)
    return cto.prune_weights(model, cto.OptimizationConfig(config))


GROUPED = {"granularity": "per_grouped_channel", "group_size": 8}
CASES: dict[str, tuple[str, Callable[[Any], Any], str | None]] = {
    "float ios15": ("iOS15", lambda model: model, "Float16"),
    "float ios17": ("iOS17", lambda model: model, "Float16"),
    "palette ios16": ("iOS16", palettized(4), "Mixed (Float16, Palettized (4 bits))"),
    "int8 ios16": ("iOS16", quantized(), "Mixed (Float16, Int8)"),
    "sparse ios16": ("iOS16", pruned, "Mixed (Float16, Sparse)"),
    "palette ios18": ("iOS18", palettized(3, **GROUPED), "Mixed (Float16, Palettized (3 bits), UInt3)"),
    "int4 ios18": ("iOS18", quantized(dtype="int4", granularity="per_block", block_size=8), "Mixed (Float16, Int4)"),
    "sparse ios18": ("iOS18", pruned, "Mixed (Float16, Sparse, UInt1)"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_text_is_the_program_of_coremltools(case: str, tmp_path: Path) -> None:
    target, compress, storage = CASES[case]
    path = tmp_path / "model.mlpackage"
    compress(model(target)).save(str(path))
    compile_package(path, tmp_path / "model.mlmodelc")
    program = read_package(path).spec.mlProgram
    text = (tmp_path / "model.mlmodelc/model.mil").read_text()
    assert bare(Parser(text).program()) == bare(program)
    assert f'"storagePrecision" : "{storage}"' in (tmp_path / "model.mlmodelc/metadata.json").read_text()
