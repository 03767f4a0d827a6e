"""A streamed package is, operation for operation and number for number, what plain coremltools makes of the module.

The module is sdbuild's, so this is about conversion alone; ``test_reference`` is about the modules.
"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.plain import convert_plainly
from sdbuild.coreml.package import Package
from sdbuild.opset import Opset
from tests.architectures import CHECKER, CONFIGS, TEXT, TEXT_XL, UNET, UNET_2, UNET_XL, VAE, Shape, make
from tests.coreml.convert.plain import make_exact, recognised, with_weights
from tests.coreml.convert.same_program import differences
from tests.coreml.convert.test_convert import INPUTS, OUTPUTS, SHAPE, arguments, convert_component

VOCABULARY = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
"""Of every real text encoder: too many rows to be counted in 16 bits, which changes the program."""
OLD_END = {"eos_token_id": 2}  # as most configurations of CLIP say, wrongly; transformers then finds the end otherwise
CHUNKED = Shape(height=256, width=192, batch=2)  # 768 queries: split_einsum_v2 chunks them


def both(
    path: Path,
    kind: str,
    config: dict[str, Any],
    opset: Opset,
    precision: str = "float16",
    shape: Shape = SHAPE,
    attention: str = "original",
    change: Callable[[torch.nn.Module], torch.nn.Module] = recognised,
    model: torch.nn.Module | None = None,
) -> tuple[Package, Package]:
    """The package that sdbuild writes, and coremltools' of the same module with the same weights."""
    model = model or make(kind, config)
    if kind.startswith("unet"):
        make_exact(model)
    ours, component, _ = convert_component(path, kind, config, shape, opset, precision, model, attention=attention)
    dtype = "float32" if kind.startswith("clip") else precision
    theirs = convert_plainly(
        change(with_weights(component, model, attention)),
        arguments(kind, component),
        path / "plain.mlpackage",
        dict.fromkeys(INPUTS[kind], dtype),
        OUTPUTS[kind],
        opset,
        precision,
    )
    return ours, theirs


AS_IN_9_0 = pytest.mark.skipif(
    not version("coremltools").startswith("9.0"),
    reason="9.0 took the 16-bit type of one index for the next; 9.1 does not, and sdbuild's programs stay as they were",
)
SLOW = pytest.mark.slow  # nothing that the others do not have, in another combination


@pytest.mark.parametrize(
    "opset",
    [
        pytest.param(Opset.IOS15, marks=SLOW),
        Opset.IOS16,
        pytest.param(Opset.IOS17, marks=AS_IN_9_0),
        pytest.param(Opset.IOS18, marks=[SLOW, AS_IN_9_0]),
    ],
)
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("clip_text", TEXT),
        ("clip_text", TEXT | VOCABULARY | OLD_END),
        ("clip_text_pooled", TEXT_XL | VOCABULARY),
        ("clip_text_pooled", TEXT | VOCABULARY | OLD_END),
    ],
    ids=["few-words", "sd1", "sdxl-2", "sdxl-1"],
)
def test_text_encoders(kind: str, config: dict[str, Any], opset: Opset, tmp_path: Path) -> None:
    assert differences(*both(tmp_path, kind, config, opset)) == ""


@pytest.mark.parametrize("opset", [Opset.IOS16, Opset.IOS17, pytest.param(Opset.IOS18, marks=SLOW)])
def test_a_text_encoder_in_float32(opset: Opset, tmp_path: Path) -> None:
    assert differences(*both(tmp_path, "clip_text", TEXT, opset, "float32")) == ""


@pytest.mark.parametrize(
    ("opset", "precision"),
    [
        (Opset.IOS16, "float16"),
        (Opset.IOS18, "float32"),
        pytest.param(Opset.IOS17, "float16", marks=SLOW),
        pytest.param(Opset.IOS18, "float16", marks=SLOW),
        pytest.param(Opset.IOS16, "float32", marks=SLOW),
    ],
)
@pytest.mark.parametrize("kind", ["vae_decoder", "vae_encoder"])
def test_vaes(kind: str, precision: str, opset: Opset, tmp_path: Path) -> None:
    assert differences(*both(tmp_path, kind, VAE, opset, precision)) == ""


@pytest.mark.parametrize(
    ("kind", "config", "attention"),
    [
        pytest.param("unet", UNET, "original", id="sd1-original"),
        pytest.param("unet", UNET, "split_einsum", id="sd1-split_einsum", marks=SLOW),
        pytest.param("unet", UNET, "split_einsum_v2", id="sd1-split_einsum_v2"),
        pytest.param("unet", UNET_2, "original", id="sd2-original", marks=SLOW),
        pytest.param("unet", UNET_2, "split_einsum", id="sd2-split_einsum", marks=SLOW),
        pytest.param("unet", UNET_2, "split_einsum_v2", id="sd2-split_einsum_v2", marks=SLOW),
        pytest.param("unet_xl", UNET_XL, "original", id="sdxl-original", marks=SLOW),
        pytest.param("unet_xl", UNET_XL, "split_einsum", id="sdxl-split_einsum"),
        pytest.param("unet_xl", UNET_XL, "split_einsum_v2", id="sdxl-split_einsum_v2", marks=SLOW),
    ],
)
def test_unets(kind: str, config: dict[str, Any], attention: str, tmp_path: Path) -> None:
    shape = CHUNKED if attention == "split_einsum_v2" else SHAPE
    assert differences(*both(tmp_path, kind, config, Opset.IOS16, shape=shape, attention=attention)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("opset", [Opset.IOS17, Opset.IOS18])
@pytest.mark.parametrize(("kind", "attention"), [("unet", "split_einsum"), ("unet_xl", "original")])
def test_unets_of_later_systems(kind: str, attention: str, opset: Opset, tmp_path: Path) -> None:
    assert differences(*both(tmp_path, kind, CONFIGS[kind], opset, attention=attention)) == ""


@pytest.mark.parametrize(
    "opset", [Opset.IOS16, pytest.param(Opset.IOS17, marks=SLOW), pytest.param(Opset.IOS18, marks=SLOW)]
)
def test_a_safety_checker(opset: Opset, tmp_path: Path) -> None:
    assert differences(*both(tmp_path, "safety_checker", CHECKER, opset)) == ""


def test_equal_weights_are_one(tmp_path: Path) -> None:
    """Once in the file, from a hundred elements on: here all norms', and the zeros and ones that any group norm has."""
    config = VAE | {"block_out_channels": [8, 16, 16, 112]}
    model = make("vae_decoder", config)
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.weight.data = torch.linspace(0.5, 2, module.num_channels)
            module.bias.data = torch.linspace(-1, 1, module.num_channels)
    ours, theirs = both(tmp_path, "vae_decoder", config, Opset.IOS16, model=model)
    assert differences(ours, theirs) == ""


@pytest.mark.parametrize(("kind", "config"), [("vae_decoder", VAE), pytest.param("unet", UNET, marks=SLOW)])
def test_a_model_that_was_never_trained(kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    """Norms that multiply by ones and add zeros are dropped."""
    model = make(kind, config)
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            torch.nn.init.ones_(module.weight)
            torch.nn.init.zeros_(module.bias)
    ours, theirs = both(tmp_path, kind, config, Opset.IOS16, model=model)
    assert count(ours, "batch_norm") == 0
    assert differences(ours, theirs) == ""


def test_the_one_deviation_is_a_norm_over_channels(tmp_path: Path) -> None:
    """Written as torch has it, coremltools keeps two transpositions around each norm over channels; sdbuild has none.

    In the form that the tests above give it, coremltools arrives at the same single operation. Apple's reference uses that
    form, which divides each shift by its scale: a scale of 0 in a checkpoint would make NaNs.
    """
    ours, theirs = both(tmp_path, "unet", UNET, Opset.IOS16, change=lambda module: module)
    assert count(ours, "layer_norm") == count(theirs, "layer_norm") == 3 * 4
    assert count(theirs, "transpose") - count(ours, "transpose") == 2 * 3 * 4
    assert "transpose" in differences(ours, theirs)


def count(package: Package, kind: str) -> int:
    (function,) = package.spec.mlProgram.functions.values()
    return sum(operation.type == kind for operation in function.block_specializations[function.opset].operations)
