"""What convert writes computes what the library's own module computes."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import cosine_distance

from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.coreml.package import Package, read_package
from sdbuild.coreml.proto import FeatureTypes_pb2
from sdbuild.coreml.runtime import load
from sdbuild.errors import UserError
from sdbuild.graphs import read_graph
from sdbuild.modeling.building import Component
from sdbuild.modeling.tracing import graph_of, trace
from sdbuild.opset import Opset
from tests.architectures import CHECKER, CONFIGS, UNET, UNET_2, Shape, build, make
from tests.once import once, traced

ARRAY = FeatureTypes_pb2.ArrayFeatureType
INPUTS = {
    "clip_text": ["input_ids"],
    "clip_text_pooled": ["input_ids"],
    "unet": ["sample", "timestep", "encoder_hidden_states"],
    "unet_xl": ["sample", "timestep", "encoder_hidden_states", "time_ids", "text_embeds"],
    "vae_decoder": ["z"],
    "vae_encoder": ["x"],
    "safety_checker": ["clip_input", "images", "adjustment"],
}
OUTPUTS = {
    "clip_text": ["last_hidden_state", "pooled_outputs"],
    "clip_text_pooled": ["hidden_embeds", "pooled_outputs"],
    "unet": ["noise_pred"],
    "unet_xl": ["noise_pred"],
    "vae_decoder": ["image"],
    "vae_encoder": ["latent"],
    "safety_checker": ["filtered_images", "has_nsfw_concepts", "concept_scores"],
}
SHAPE = Shape(height=64, width=128, batch=2)


def psnr(reference: np.ndarray, result: np.ndarray) -> float:
    if np.array_equal(reference, result):
        return np.inf
    noise = np.sqrt(np.mean((reference.astype(np.float64) - result) ** 2))
    return float(20 * np.log10(np.abs(reference).max() / (noise + 1e-30)))


def convert_component(
    path: Path,
    kind: str,
    config: dict[str, Any],
    shape: Shape = SHAPE,
    opset: Opset = Opset.IOS16,
    precision: str = "float16",
    model: torch.nn.Module | None = None,
    state: Mapping[str, torch.Tensor] | None = None,
    attention: str = "original",
) -> tuple[Package, Component, torch.nn.Module]:
    """With weights that are nobody's own, a copy of what was converted once for all tests."""
    known = model is None and state is None
    model = make(kind, config) if model is None else model
    graph, target, state = traced(kind, config, shape), path / "model.mlpackage", state or model.state_dict()
    if known:

        def make_once(folder: Path) -> None:
            folder.mkdir()
            _converted(graph, folder / target.name, kind, state, opset, precision, attention)

        shutil.copytree(once(f"{graph.stem}-{opset.name}-{precision}-{attention}", make_once), path, dirs_exist_ok=True)
    else:
        _converted(graph, target, kind, state, opset, precision, attention)
    return read_package(target), build(kind, config, shape), model


def _converted(
    graph: Path,
    target: Path,
    kind: str,
    state: Mapping[str, torch.Tensor],
    opset: Opset,
    precision: str,
    attention: str = "original",
) -> Package:
    dtype = "float32" if kind.startswith("clip") else precision
    return convert(
        read_graph(graph),
        lambda name: state[name].numpy(),
        target,
        inputs=[Port(name, dtype, f"the {name}") for name in INPUTS[kind]],
        outputs=[Port(name, "float32") for name in OUTPUTS[kind]],
        opset=opset,
        precision=precision,
        attention=attention,
        metadata=Metadata(description="a model", author="somebody", license="MIT", version="1", user={"key": "value"}),
    )


def arguments(kind: str, component: Component) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if kind.startswith("clip"):
        ids = torch.randint(0, 590, (1, 77), generator=generator).float()
        ids[0, 0], ids[0, 9:] = 598, 599
        return [ids]
    tensors = [torch.randn(tuple(a.shape), generator=generator).half().float() for a in component.arguments]
    if kind.startswith("unet"):
        tensors[1] = torch.full((tensors[0].shape[0],), 37.0)
    return tensors


def reference(kind: str, model: Any, args: list[torch.Tensor]) -> list[torch.Tensor]:
    """The library's own forward, called as its pipelines call it."""
    with torch.no_grad():
        if kind == "clip_text":
            result = model(args[0].long())
            return [result.last_hidden_state, result.pooler_output]
        if kind == "clip_text_pooled":
            result = model(args[0].long(), output_hidden_states=True)
            return [result.hidden_states[-2], result.text_embeds]
        if kind == "vae_decoder":
            return [model.decode(args[0]).sample]
        if kind == "vae_encoder":
            return [model.encode(args[0]).latent_dist.parameters]
        if kind == "safety_checker":
            return judged(model, *args)
        added = dict(zip(("time_ids", "text_embeds"), args[3:], strict=False)) or None
        context = args[2].squeeze(2).transpose(1, 2)
        return [model(args[0], args[1], context, added_cond_kwargs=added).sample]


def judged(model: Any, seen: torch.Tensor, images: torch.Tensor, adjustment: torch.Tensor) -> list[torch.Tensor]:
    """diffusers' own verdict, and the scores that it does not tell, in its own words."""
    with torch.no_grad():
        filtered, unsafe = model.forward_onnx(seen, images.clone())
        vectors = model.visual_projection(model.vision_model(seen)[1])
        special = cosine_distance(vectors, model.special_care_embeds) - model.special_care_embeds_weights + adjustment
        scores = cosine_distance(vectors, model.concept_embeds) - model.concept_embeds_weights
        return [filtered, unsafe.float().view(1, 1, 1, 1), scores + 0.01 * (special > 0).any()]


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_a_converted_component_computes_what_the_library_does(kind: str, tmp_path: Path) -> None:
    package, component, model = convert_component(tmp_path, kind, CONFIGS[kind])
    args = arguments(kind, component)
    result = load(package.path).predict(_feed(kind, args, package))
    for name, expected in zip(OUTPUTS[kind], reference(kind, model, args), strict=True):
        assert result[name].dtype == np.float32
        assert psnr(expected.numpy(), result[name]) > 60


@pytest.mark.parametrize(
    ("threshold", "special", "adjustment", "unsafe", "stricter"),
    [
        (1.0, 1.0, 0.0, False, False),
        (0.0, 1.0, 0.0, True, False),
        (1.0, -1.0, 0.0, False, True),
        (1.0, 1.0, 2.0, False, True),
        (1.0, -1.0, -2.0, False, False),
        ("best + 0.005", 1.0, 0.0, False, False),
        ("best + 0.005", -1.0, 0.0, True, True),  # by the strictness of special care alone
    ],
)
def test_a_safety_checker_judges_as_the_library_does(
    threshold: float | str, special: float, adjustment: float, unsafe: bool, stricter: bool, tmp_path: Path
) -> None:
    """``adjustment``, which diffusers' own forward leaves at zero, moves the thresholds of special care."""
    model: Any = make("safety_checker", CHECKER)
    component = build("safety_checker", CHECKER, SHAPE)
    seen, images, _ = arguments("safety_checker", component)
    with torch.no_grad():
        vectors = model.visual_projection(model.vision_model(seen)[1])
        best = float(cosine_distance(vectors, model.concept_embeds).max())
        model.concept_embeds_weights.fill_(best + 0.005 if isinstance(threshold, str) else threshold)
        model.special_care_embeds_weights.fill_(special)
    package, _, _ = convert_component(tmp_path, "safety_checker", CHECKER, state=model.state_dict())
    args = [seen, images, torch.tensor([adjustment])]
    result = load(package.path).predict(_feed("safety_checker", args, package))
    expected = judged(model, *args)
    assert result["has_nsfw_concepts"].shape == (1, 1, 1, 1)
    assert bool(result["has_nsfw_concepts"].item()) is unsafe
    assert result["filtered_images"].any() != unsafe
    assert psnr(expected[2].numpy(), result["concept_scores"]) > 60
    plain = cosine_distance(vectors, model.concept_embeds) - model.concept_embeds_weights
    assert bool(result["concept_scores"].mean() > float(plain.mean()) + 0.005) is stricter
    if not adjustment:  # the library's own decision
        assert model(seen, images.clone())[1] == [unsafe]
        np.testing.assert_array_equal(result["filtered_images"], expected[0].numpy())


@pytest.mark.parametrize("opset", [Opset.IOS15, Opset.IOS17, Opset.IOS18])
@pytest.mark.parametrize("vocabulary", [600, 40000], ids=["16-bit", "32-bit"])
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_text_is_looked_up_in_every_opset(precision: str, vocabulary: int, opset: Opset, tmp_path: Path) -> None:
    config = CONFIGS["clip_text"] | {"vocab_size": vocabulary}
    package, component, model = convert_component(tmp_path, "clip_text", config, opset=opset, precision=precision)
    args = arguments("clip_text", component)
    args[0][0, 5] = vocabulary - 1
    result = load(package.path).predict(_feed("clip_text", args, package))
    for name, expected in zip(OUTPUTS["clip_text"], reference("clip_text", model, args), strict=True):
        assert psnr(expected.numpy(), result[name]) > 60


@pytest.mark.parametrize("attention", ["original", "split_einsum", "split_einsum_v2"])
@pytest.mark.parametrize("config", [UNET, UNET_2], ids=["sd1", "sd2"])
def test_every_attention_variant_computes_the_same(attention: str, config: dict[str, Any], tmp_path: Path) -> None:
    shape = Shape(height=256, width=192, batch=1)  # 768 queries: split_einsum_v2 chunks them
    package, component, model = convert_component(tmp_path, "unet", config, shape, attention=attention)
    args = arguments("unet", component)
    result = load(package.path).predict(_feed("unet", args, package))["noise_pred"]
    assert psnr(reference("unet", model, args)[0].numpy(), result) > 60


@pytest.mark.parametrize(("opset", "version"), [(Opset.IOS15, 6), (Opset.IOS16, 7), (Opset.IOS17, 8), (Opset.IOS18, 9)])
def test_every_opset_has_its_version_and_float32_is_exact(opset: Opset, version: int, tmp_path: Path) -> None:
    package, component, model = convert_component(
        tmp_path, "vae_decoder", CONFIGS["vae_decoder"], opset=opset, precision="float32"
    )
    assert package.spec.specificationVersion == version
    args = arguments("vae_decoder", component)
    result = load(package.path).predict({"z": args[0].numpy()})["image"]
    assert psnr(reference("vae_decoder", model, args)[0].numpy(), result) > 100


def test_boundaries_are_as_the_swift_package_wants_them(tmp_path: Path) -> None:
    package, _, _ = convert_component(tmp_path, "unet_xl", CONFIGS["unet_xl"])
    description = package.spec.description
    assert [(f.name, f.type.multiArrayType.dataType) for f in description.input] == [
        (name, ARRAY.FLOAT16) for name in INPUTS["unet_xl"]
    ]
    assert [(f.name, f.type.multiArrayType.dataType) for f in description.output] == [("noise_pred", ARRAY.FLOAT32)]
    assert list(description.input[0].type.multiArrayType.shape) == [2, 4, 8, 16]
    assert description.input[0].shortDescription == "the sample"
    assert (description.metadata.author, description.metadata.userDefined["key"]) == ("somebody", "value")


def test_coremltools_reloads_the_package(tmp_path: Path) -> None:
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil

    package, _, model = convert_component(tmp_path, "unet", UNET)
    reloaded = ct.models.MLModel(str(package.path), skip_model_load=True)
    program = load_mil(reloaded.get_spec(), reloaded.get_spec().specificationVersion, reloaded.weights_dir)
    weights = {
        op.outputs[0].name: op.outputs[0].val for op in program.functions["main"].operations if op.op_type == "const"
    }
    expected = model.state_dict()["conv_in.weight"].half().numpy()
    np.testing.assert_array_equal(weights["conv_in_weight_to_fp16"], expected)


def test_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    first, _, model = convert_component(tmp_path, "unet", UNET)
    trace(build("unet", UNET, SHAPE), tmp_path / "graph.json")
    second = _converted(
        tmp_path / "graph.json", tmp_path / "second.mlpackage", "unet", model.state_dict(), Opset.IOS16, "float16"
    )
    for file in ("Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"):
        assert (first.path / file).read_bytes() == (second.path / file).read_bytes()
    assert (tmp_path / "graph.json").read_bytes() == traced("unet", UNET, SHAPE).read_bytes()


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"conv_in\.weight has shape \[32, 9, 3, 3\].*says \[32, 4, 3, 3\]"):
        _convert_with(tmp_path, "conv_in.weight", torch.zeros(32, 9, 3, 3))


@pytest.mark.parametrize(("value", "why"), [(1e6, "overflows float16"), (float("nan"), "holds infinities or NaNs")])
def test_a_weight_that_cannot_be_float16_is_named(value: float, why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"conv_in\.bias {why}"):
        _convert_with(tmp_path, "conv_in.bias", torch.full((32,), value))


def test_an_unknown_operation_is_named(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (torch.erfinv(x),)

    graph, _ = graph_of(Odd(), (torch.zeros(2, 2),))
    with pytest.raises(UserError, match=r"no lowering for aten\.erfinv\.default \(node erfinv\)"):
        convert(
            graph, lambda name: np.zeros(1), tmp_path / "m.mlpackage", inputs=[Port("x", "float32")],
            outputs=[Port("y", "float32")], opset=Opset.IOS16, precision="float32", metadata=Metadata(),
        )  # fmt: skip


def _convert_with(path: Path, name: str, tensor: torch.Tensor) -> None:
    state = make("unet", UNET).state_dict() | {name: tensor}
    convert(
        read_graph(traced("unet", UNET, SHAPE)), lambda key: state[key].numpy(), path / "m.mlpackage",
        inputs=[Port(key, "float16") for key in INPUTS["unet"]], outputs=[Port("noise_pred", "float32")],
        opset=Opset.IOS16, precision="float16", metadata=Metadata(),    )  # fmt: skip


def _feed(kind: str, args: list[torch.Tensor], package: Package) -> dict[str, np.ndarray]:
    types = {
        f.name: np.float16 if f.type.multiArrayType.dataType == ARRAY.FLOAT16 else np.float32
        for f in package.spec.description.input
    }
    return {name: tensor.numpy().astype(types[name]) for name, tensor in zip(INPUTS[kind], args, strict=True)}


def operations(package: Package) -> Any:
    function = read_package(package.path).spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations
