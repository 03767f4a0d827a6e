"""The tables: devices that make sense, targets that are coremltools' own, families that are the Swift package's."""

import importlib.util
import re
from pathlib import Path

import pytest

from sdbuild.recipe import Family, load_family
from sdbuild.recipe.catalogue import catalogue
from sdbuild.recipe.compression import NOT_YET, Step
from sdbuild.recipe.family import DIMENSIONS, load_family_file
from sdbuild.recipe.fields import Resolution
from sdbuild.recipe.files import names_in, pipelines_folder
from sdbuild.recipe.sizes import GB, weight_bytes
from sdbuild.recipe.steps.palettize import Palettize
from sdbuild.recipe.targets import FEATURES, TARGETS, os_problem, year_of

FAMILIES = [load_family(name) for name in names_in(pipelines_folder())]


def source_of_coremltools(path: str) -> str:
    """A file of the installed coremltools, read and not imported: that takes seconds."""
    spec = importlib.util.find_spec("coremltools")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / path).read_text(encoding="utf-8")


def test_targets_are_those_of_coremltools() -> None:
    numbers = dict(re.findall(r"^(_SPECIFICATION_VERSION_IOS_\d+) = (\d+)", source_of_coremltools("__init__.py"), re.M))
    opsets = dict(
        re.findall(r'^    (_SPECIFICATION_VERSION_IOS_\d+): "(\w+)"', source_of_coremltools("__init__.py"), re.M)
    )
    table = source_of_coremltools("converters/mil/_deployment_compatibility.py")
    known = dict(re.findall(r"^    ((?:iOS|macOS)\d+) = (\w+)", table, re.M))
    for name, target in TARGETS.items():
        assert target.opset.specification == int(numbers[known[name]])
        assert target.opset.mil == opsets[known[name]]
    newer = {name for name in known if int(numbers[known[name]]) > 9}
    assert newer == {"iOS26", "macOS26"}
    assert all(os_problem(name) is not None for name in newer)


def test_features_come_when_coremltools_says() -> None:
    passes = source_of_coremltools("optimize/coreml/_quantization_passes.py")
    assert "_MINIMUM_OPSET_VERSION = AvailableTarget.iOS16" in passes
    for words in ("Joint compression is only supported since iOS18", "palettization is supported since iOS18"):
        assert words in passes
    early = source_of_coremltools("converters/mil/mil/ops/defs/iOS16/constexpr_ops.py")
    assert "`{1, 2, 4, 6, 8}`" in early
    assert not re.search(r"types\.uint3\b", early)
    late = source_of_coremltools("converters/mil/mil/ops/defs/iOS18/compression.py")
    for operation in ("constexpr_lut_to_dense", "constexpr_blockwise_shift_scale", "constexpr_lut_to_sparse"):
        assert f"class {operation}(" in late
    assert re.search(r"types\.uint3\b", late)
    assert "float16 dtype for inputs is only supported for deployment" in source_of_coremltools(
        "converters/_converters_entry.py"
    )
    assert {key: feature.year for key, feature in FEATURES.items()} == {
        "float16_ports": 16,
        "palettes": 16,
        "three_bit_palettes": 18,
        "grouped_palettes": 18,
        "vector_palettes": 18,
        "sparse": 16,
        "sparse_palettes": 18,
        "int8": 16,
        "int4": 18,
        "blockwise": 18,
        "compressed_in_memory": 17,
    }


def test_what_is_not_built_yet_names_the_system_that_it_needs() -> None:
    assert "iOS18 / macOS15" in NOT_YET[("cluster_dim",)]
    assert "iOS16 / macOS13" in NOT_YET[("prune",)]


@pytest.mark.parametrize(("name", "year"), [("iOS18", 18), ("macOS15", 18), ("macOS12", 15), ("macOS26", 26)])
def test_years(name: str, year: int) -> None:
    assert year_of(name) == year


def test_every_device_is_whole() -> None:
    table = catalogue()
    for key, device in table.devices.items():
        chip = table.chip(key)
        mac = key.startswith("mac-")
        assert device.platform == ("macOS" if mac else "iOS")
        assert re.fullmatch(r"[a-z0-9-]+", key)
        assert 3 <= device.memory <= 96
        assert device.default_target.name in TARGETS
        assert mac or not (chip.neural_engine and chip.compute_units != "cpuAndNeuralEngine")
        if device.last_os is not None:
            assert year_of(device.first_os) < year_of(device.last_os)
    assert {device.chip for device in table.devices.values()} == set(table.chips)


def test_iphones_start_with_a14() -> None:
    supported = [key for key in catalogue().devices if key.startswith("iphone") and catalogue().chip(key).supported]
    assert supported[0] == "iphone-12-mini"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_families_keep_the_swift_contract(family: Family) -> None:
    for component in family.components.values():
        inputs, outputs = [port.name for port in component.inputs], [port.name for port in component.outputs]
        assert {port.dtype for port in component.outputs} == {"float32"}
        if component.swift_name.startswith("TextEncoder"):
            assert inputs == ["input_ids"]
            assert component.inputs[0].dtype == "float32"
            assert outputs == ["hidden_embeds" if family.name == "sdxl" else "last_hidden_state", "pooled_outputs"]
        elif component.swift_name == "Unet":
            conditions = ["time_ids", "text_embeds"] if family.name == "sdxl" else []
            assert inputs == ["sample", "timestep", "encoder_hidden_states", *conditions]
            assert outputs == ["noise_pred"]
            assert {port.dtype for port in component.inputs} == {"float16"}
            assert component.inputs[2].shape == ("batch", "cross_attention_dim", 1, "tokens")
        elif component.swift_name == "SafetyChecker":
            assert family.name != "sdxl"  # of which the Swift package opens none
            assert inputs == ["clip_input", "images", "adjustment"]
            assert outputs == ["filtered_images", "has_nsfw_concepts", "concept_scores"]
            assert {port.dtype for port in component.inputs} == {"float16"}
            assert component.inputs[1].shape == (1, 512, 512, 3)
        else:
            assert (inputs, outputs) == (
                (["z"], ["image"]) if "Decoder" in component.swift_name else (["x"], ["latent"])
            )
    names = {component.swift_name for component in family.components.values() if not component.optional}
    assert names >= {"TextEncoder", "Unet", "VAEDecoder"}
    assert ("TextEncoder2" in names) == (family.name == "sdxl")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_dimension_is_used(family: Family) -> None:
    used = set()
    for component in family.components.values():
        named = {
            part for port in (*component.inputs, *component.outputs) for part in port.shape if isinstance(part, str)
        }
        assert set(component.dimensions) <= named
        used |= named - set(component.dimensions)
    assert used == set(DIMENSIONS)


def test_scales() -> None:
    assert [family.vae_scale for family in FAMILIES] == [0.18215, 0.18215, 0.13025]


def test_family_is_read_once() -> None:
    path = pipelines_folder() / "sd1.yaml"
    assert load_family_file(path) is load_family_file(path)


def test_nearest_resolutions() -> None:
    def nearest(width: int, height: int, multiple: int) -> list[str]:
        size = Resolution(width=width, height=height)
        return [str(near) for near in FAMILIES[0].nearest_resolutions(size, multiple)]

    assert nearest(500, 512, 64) == ["448x512", "512x512"]
    assert nearest(10, 700, 64) == ["64x640", "128x704"]
    assert nearest(512, 512, 8) == ["512x512"]


def test_nominal_sizes() -> None:
    unet = load_family("sd1").components["unet"]
    six = (Step(palettize=Palettize(bits=6)),)
    assert weight_bytes(unet) == 859_520_964 * 2
    assert 0.64 * GB < weight_bytes(unet, six) < 0.65 * GB
    text = load_family("sd1").components["text_encoder"]
    everything = (Step(palettize=Palettize(bits=8, embeddings=True)),)
    assert weight_bytes(text, everything) == 123_060_480
    assert weight_bytes(text, (Step(palettize=Palettize(bits=8)),)) == 123_060_480 + 37_945_344
    assert weight_bytes(unet.model_copy(update={"precision": "float32"})) == 859_520_964 * 4
