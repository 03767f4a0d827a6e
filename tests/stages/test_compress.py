"""The compress stage: which weights become what, the same bytes for any number of workers, messages."""

import hashlib
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from benchmarks.architectures import UNETS
from sdbuild.compress.palettize import palette_bytes
from sdbuild.coreml.chunk import chunk
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.mil import shape_of
from sdbuild.coreml.package import Package, read_package
from sdbuild.coreml.runtime import load
from sdbuild.errors import UserError
from sdbuild.job import Found
from sdbuild.jobs.compress import Compress
from sdbuild.opset import Opset
from sdbuild.recipe.steps.palettize import Palettize
from tests.architectures import CONFIGS
from tests.coreml.convert.test_convert import _feed, arguments, convert_component, psnr
from tests.execute import run

Form = tuple[int, ...]


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return convert_component(tmp_path_factory.mktemp("unet"), "unet", CONFIGS["unet"], opset=Opset.IOS18)[0]


def compress(source: Package, path: Path, **options: Any) -> Package:
    """The stage, with the parameters that the plan writes for these options; small tensors count too."""
    settings = Palettize.model_validate({"min_elements": 0, **options}).settings()
    job = Compress(steps=({"palettize": settings},), versions={}, tools=(), package=Found(source.path))
    return read_package(run(job, path) / source.path.name)


def tables(package: Package) -> dict[str, Form]:
    """By name of a palettized weight the bits, then the shape of its tables; for any opset."""
    found = {}
    for function in package.spec.mlProgram.functions.values():
        for operation in function.block_specializations[function.opset].operations:
            if operation.type == "constexpr_lut_to_dense":
                old = "lut" in operation.attributes
                table = operation.attributes["lut"] if old else operation.inputs["lut"].arguments[0].value
                shape = shape_of(table.type)
                found[operation.outputs[0].name] = (shape[-1 if old else -2].bit_length() - 1, *shape)
    return found


def digest(package: Package) -> str:
    files = sorted(file for file in package.path.rglob("*") if file.is_file())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_everything_with_two_axes_has_a_table(unet: Package, tmp_path: Path) -> None:
    found = tables(compress(unet, tmp_path, bits=4))
    assert set(found.values()) == {(4, 1, 1, 1, 1, 16, 1)}
    assert not any("bias" in name or "norm" in name for name in found)
    assert "time_embedding_linear_1_weight_to_fp16" in found


def test_groups_divide_the_channels(unet: Package, tmp_path: Path) -> None:
    found = tables(compress(unet, tmp_path, bits=1, granularity="per_grouped_channel", group_size=12))
    assert found["conv_in_weight_to_fp16"] == (1, 8, 1, 1, 1, 2, 1)  # 32 channels: groups of 4
    assert found["conv_out_weight_to_fp16"] == (1, 1, 1, 1, 1, 2, 1)  # 4 channels: one group
    assert found["time_embedding_linear_1_weight_to_fp16"] == (1, 32, 1, 1, 1, 2, 1)  # 128 channels: groups of 4


def test_groups_along_another_axis(unet: Package, tmp_path: Path) -> None:
    package = compress(unet, tmp_path, bits=2, granularity="per_grouped_channel", group_size=4, axis=1)
    assert tables(package)["time_embedding_linear_1_weight_to_fp16"] == (2, 1, 8, 1, 1, 4, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 8},
        {"bits": 3},
        {"bits": 6, "granularity": "per_grouped_channel", "group_size": 4},
        {"bits": 8, "parameters": {"mid_block.*": {"bits": 6}, "conv_in.weight": None}},
    ],
    ids=["8", "3", "6 grouped", "mixed"],
)
def test_what_runs_is_close_to_the_original_packaged_compiled_and_chunked(
    options: dict[str, Any], unet: Package, tmp_path: Path
) -> None:
    package = compress(unet, tmp_path, **options)
    compile_package(package.path, tmp_path / "model.mlmodelc")
    (_, component, _) = convert_component(tmp_path, "unet", CONFIGS["unet"], opset=Opset.IOS18)
    feed = _feed("unet", arguments("unet", component), unet)
    whole, small = (load(each.path).predict(feed)["noise_pred"] for each in (unet, package))
    assert psnr(whole, small) > (20 if options["bits"] == 3 else 38)
    np.testing.assert_array_equal(load(tmp_path / "model.mlmodelc").predict(feed)["noise_pred"], small)
    parts = chunk(package, tmp_path / "1.mlpackage", tmp_path / "2.mlpackage", lambda done, total: None)
    together = {name: form for part in parts for name, form in tables(part).items()}
    assert together == tables(package)


PROGRAM = 2 << 20  # bytes of model.mlmodel, measured
GROUPED = {"granularity": "per_grouped_channel"}


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"bits": 8}, 2.40),
        ({"bits": 6}, 1.80),
        ({"bits": 4}, 1.21),
        ({"bits": 4, "group_size": 4, **GROUPED}, 1.22),
        ({"bits": 4, "group_size": 16, **GROUPED}, 1.21),
        ({"bits": 4, "group_size": 32, **GROUPED}, 1.21),
    ],
)
def test_sdxl_becomes_as_large_as_coremltools_documentation_says(options: dict[str, Any], size: float) -> None:
    """In GiB, from the real architecture's shapes: "Optimizing StableDiffusion Model" in the guide of Core ML Tools."""
    settings = Palettize.model_validate(options).settings()
    total = PROGRAM
    for parameter in sdxl():
        nothing = np.broadcast_to(np.float16(0), parameter)
        compressed = len(parameter) > 1 and nothing.size >= settings["min_elements"]
        groups = parameter[0] // gcd(parameter[0], settings["group_size"]) if "group_size" in settings else 1
        total += palette_bytes(nothing, settings["bits"], groups) if compressed else nothing.nbytes
    assert total / 2**30 == pytest.approx(size, rel=0.01)


@cache
def sdxl() -> list[tuple[int, ...]]:
    """The shapes of the UNet's parameters."""
    with torch.device("meta"):
        model = UNet2DConditionModel.from_config(UNETS["sdxl"])
    return [tuple(parameter.shape) for parameter in model.parameters()]


def test_overrides_reach_their_weights(unet: Package, tmp_path: Path) -> None:
    found = tables(
        compress(
            unet,
            tmp_path,
            bits=4,
            op_types={"conv": {"bits": 8}, "mul": None},
            op_names={"conv_out_weight_to_fp16": {"bits": 2}},
            parameters={
                "mid_block.*": {"bits": 6, "granularity": "per_grouped_channel", "group_size": 32},
                "conv_in.weight": None,
                "time_embedding.linear_1.weight": {"min_elements": 10**6},
            },
        )
    )
    assert found["conv_out_weight_to_fp16"][0] == 2
    assert "conv_in_weight_to_fp16" not in found
    assert "time_embedding_linear_1_weight_to_fp16" not in found
    assert found["time_embedding_linear_2_weight_to_fp16"][0] == 8
    assert found["mid_block_resnets_0_conv1_weight_to_fp16"] == (6, 2, 1, 1, 1, 64, 1)
    assert {form[0] for form in found.values()} == {2, 6, 8}


def test_a_key_that_matches_nothing_fails_before_anything_is_written(unet: Package, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'mid_blok\.\*' under palettize\.parameters matches no weight of this model"):
        compress(unet, tmp_path, bits=4, parameters={"mid_blok.*": None})
    assert not list((tmp_path / "output").iterdir())


def test_an_axis_that_is_not_there(unet: Package, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shape .* has no axis 4; leave axis out"):
        compress(unet, tmp_path, bits=4, granularity="per_grouped_channel", axis=4)


def test_palettes_larger_than_the_weights_are_not_made(unet: Package, tmp_path: Path) -> None:
    found = tables(compress(unet, tmp_path, bits=8, granularity="per_grouped_channel", group_size=1))
    assert "time_embedding_linear_1_weight_to_fp16" not in found  # 32 weights a channel


@pytest.mark.parametrize("options", [{"bits": 6}, {"bits": 3, "granularity": "per_grouped_channel", "group_size": 4}])
def test_the_same_bytes_for_any_number_of_workers(
    options: dict[str, Any], unet: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for workers in (1, 2, 7):
        monkeypatch.setattr("os.cpu_count", lambda workers=workers: workers)
        folder = tmp_path / str(workers)
        folder.mkdir()
        found.add(digest(compress(unet, folder, **options)))
    assert len(found) == 1


@pytest.mark.parametrize("opset", [Opset.IOS16, Opset.IOS18])
def test_float32_weights_get_float32_tables(opset: Opset, tmp_path: Path) -> None:
    source, component, _ = convert_component(
        tmp_path, "vae_decoder", CONFIGS["vae_decoder"], opset=opset, precision="float32"
    )
    assert source.weights is not None
    package = compress(source, tmp_path, bits=8)
    assert tables(package)
    compile_package(package.path, tmp_path / "model.mlmodelc")
    feed = _feed("vae_decoder", arguments("vae_decoder", component), source)
    whole, small, compiled = (
        load(path).predict(feed)["image"] for path in (source.path, package.path, tmp_path / "model.mlmodelc")
    )
    assert psnr(whole, small) > 38
    np.testing.assert_array_equal(small, compiled)


def test_an_infinite_weight_is_named(unet: Package, tmp_path: Path) -> None:
    broken = convert_component(tmp_path, "unet", CONFIGS["unet"])[0]
    assert broken.weights is not None
    function = broken.spec.mlProgram.functions["main"]
    operation = next(
        operation
        for operation in function.block_specializations[function.opset].operations
        if operation.outputs[0].name == "conv_out_weight_to_fp16"
    )
    offset = operation.attributes["val"].blobFileValue.offset
    with broken.weights.open("r+b") as file:
        file.seek(offset + 64)  # the payload follows its record
        file.write(np.array([np.inf], np.float16).tobytes())
    with pytest.raises(UserError, match="compress: conv_out_weight_to_fp16 holds infinities or NaNs"):
        compress(broken, tmp_path, bits=4)
