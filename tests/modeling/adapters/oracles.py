"""Writes ``oracles.safetensors``: adapters of every kind and naming, and what the libraries that made them make of weights.

Run by hand, with peft 0.21.2 and lycoris-lora 4.1.3 beside diffusers 0.42.1 and transformers 5.24.0, which the tests then do
without: ``python -m tests.modeling.adapters.oracles``. Everything is float32. Of each case are kept, as
``<case>/file/<key>``, the adapter's file; ``<case>/base/<place>/<parameter>`` and ``<case>/want/<place>/<parameter>``, the
weights that it changes, before and after; and in the metadata, as JSON, which pipeline the case is of, its weight, and PEFT's
configuration.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.modeling.adapters.models import PIPELINES

FILE = Path(__file__).with_name("oracles.safetensors")
_OF = {"unet": "unet", "text_encoder": "te", "text_encoder_2": "te2"}

Case = dict[str, Any]


def models(pipeline: str) -> dict[str, nn.Module]:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    made: dict[str, nn.Module] = {}
    for place, config in PIPELINES[pipeline].items():
        if place == "unet":
            made[place] = UNet2DConditionModel(**{k: v for k, v in config.items() if not k.startswith("_")})
        else:
            own = CLIPTextConfig(**{k: v for k, v in config.items() if k not in ("architectures", "model_type")})
            projected = config["architectures"] == ["CLIPTextModelWithProjection"]
            made[place] = (CLIPTextModelWithProjection if projected else CLIPTextModel)(own)
    for model in made.values():
        for parameter in model.parameters():
            parameter.data = (torch.randn_like(parameter) * 0.3).half().float()
    return made


def weights(made: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {
        place: {
            name.replace(".base_layer", "").removeprefix("base_model.model."): value.detach().clone()
            for name, value in model.named_parameters()
            if ".lora_" not in name and ".hada_" not in name and ".lokr_" not in name
        }
        for place, model in made.items()
    }


def changed(
    before: dict[str, dict[str, Tensor]], after: dict[str, dict[str, Tensor]]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    for place, values in before.items():
        for name, old in values.items():
            if not torch.equal(old, after[place][name]):
                yield f"{place}/{name}", old, after[place][name]


def pipe(pipeline: str, made: dict[str, nn.Module]) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    common: dict[str, Any] = {"vae": None, "scheduler": DDIMScheduler(), "tokenizer": None, **made}
    if pipeline == "sdxl":
        return StableDiffusionXLPipeline(**common, tokenizer_2=None, add_watermarker=False)
    return StableDiffusionPipeline(**common, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def by_diffusers(
    pipeline: str, *files: dict[str, Tensor], weight: Any = 1.0, metadata: dict[str, Any] | None = None
) -> Case:
    """What diffusers fuses of the files, each at the weight."""
    made = models(pipeline)
    before, whole = weights(made), pipe(pipeline, made)
    scales = weight if isinstance(weight, list) else [weight] * len(files)
    for number, file in enumerate(files):
        kwargs: dict[str, Any] = {}
        given: Any = dict(file)
        if metadata is not None:
            folder = Path(tempfile.mkdtemp())
            from safetensors.torch import save_file

            entry = json.dumps(metadata, sort_keys=True)
            save_file(file, folder / "x.safetensors", {"format": "pt", "lora_adapter_metadata": entry})
            given, kwargs = str(folder / "x.safetensors"), {}
        whole.load_lora_weights(given, adapter_name=f"a{number}", **kwargs)
    whole.set_adapters([f"a{number}" for number in range(len(files))], scales)
    whole.fuse_lora(components=list(made))
    return {
        "pipeline": pipeline,
        "files": files,
        "weights": scales,
        "changed": list(changed(before, weights(made))),
        "metadata": metadata,
    }


def layers(model: nn.Module, *endings: str) -> list[tuple[str, nn.Module]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and name.endswith(endings)
    ]


def pair(module: nn.Module, rank: int) -> tuple[Tensor, Tensor]:
    if isinstance(module, nn.Conv2d):
        down = torch.randn(rank, module.in_channels, *module.kernel_size)
        return down, torch.randn(module.out_channels, rank, 1, 1)
    assert isinstance(module, nn.Linear)
    return torch.randn(rank, module.in_features), torch.randn(module.out_features, rank)


STEP = {"unet": 4, "text_encoder": 1, "text_encoder_2": 1}  # of the layers some are enough
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def plain(
    pipeline: str, endings: dict[str, tuple[str, ...]], name: Callable[[str, str, str], str]
) -> dict[str, Tensor]:
    """A file with a LoRA for some layers: ``name`` makes a key of place, layer and "down" or "up"."""
    file = {}
    for place, model in models(pipeline).items():
        for number, (layer, module) in enumerate(layers(model, *endings.get(place, ("none at all",)))[:: STEP[place]]):
            down, up = pair(module, 1 + number % 3)
            file[name(place, layer, "down")], file[name(place, layer, "up")] = down * 0.3, up * 0.3
    return file


def kohya(place: str, layer: str, part: str, te: str = "te") -> str:
    prefix = {"unet": "unet", "text_encoder": te, "text_encoder_2": "te2"}[place]
    path = layer if place == "unet" or layer.startswith("text_model.") else f"text_model.{layer}"
    return f"lora_{prefix}_{path.replace('.', '_')}.lora_{part}.weight"


def with_alphas(file: dict[str, Tensor]) -> dict[str, Tensor]:
    """One alpha for all: of several diffusers takes the commonest for every layer."""
    alphas = {key.replace("lora_down.weight", "alpha"): torch.tensor(1.5) for key in file if "lora_down" in key}
    return {**file, **alphas}


TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
UNET = (*ATTENTION, "proj_in", "proj_out", "net.0.proj", "net.2")


def cases() -> Iterator[tuple[str, Case]]:
    every = {"unet": (*UNET, "conv1", "conv_shortcut"), "text_encoder": TEXT}
    torch.manual_seed(1)
    yield "kohya", by_diffusers("sd1", with_alphas(plain("sd1", every, kohya)), weight=0.7)
    yield "kohya without alpha", by_diffusers("sd1", plain("sd1", {"unet": ATTENTION}, kohya))

    def old(place: str, layer: str, part: str) -> str:
        if place == "unet":
            parent, _, last = layer.removesuffix(".0").rpartition(".")
            return f"unet.{parent}.processor.{last}_lora.{part}.weight"
        return f"{place}.text_model.{layer.removeprefix('text_model.')}.lora_linear_layer.{part}.weight"

    yield "diffusers, processors", by_diffusers("sd1", plain("sd1", {"unet": ATTENTION, "text_encoder": TEXT[:4]}, old))

    def middle(place: str, layer: str, part: str) -> str:
        return f"{place}.{layer}.lora.{part}.weight"

    yield "diffusers, lora.down", by_diffusers("sd1", plain("sd1", {"unet": ATTENTION}, middle))

    def new(place: str, layer: str, part: str) -> str:
        path = layer if place == "unet" else f"text_model.{layer.removeprefix('text_model.')}"
        return f"{place}.{path}.lora_{'A' if part == 'down' else 'B'}.weight"

    yield "diffusers, lora_A", by_diffusers("sd1", plain("sd1", {"unet": UNET, "text_encoder": TEXT[:4]}, new))
    first, second = (plain("sd1", {"unet": ATTENTION}, kohya) for _ in range(2))
    yield "two files", by_diffusers("sd1", with_alphas(first), second, weight=[0.8, -0.35])
    blocks = {"unet": {"down": {"block_0": [0.25]}, "mid": 2.0, "up": {"block_1": [0.5, -1.0]}}}
    yield "blocks", by_diffusers("sd1", plain("sd1", {"unet": ATTENTION}, kohya), weight=[blocks])
    xl = {"unet": UNET, "text_encoder": TEXT, "text_encoder_2": TEXT}
    yield "sdxl, kohya", by_diffusers("sdxl", with_alphas(plain("sdxl", xl, lambda *a: kohya(*a, te="te1"))))

    def ldm(place: str, layer: str, part: str) -> str:
        if place != "unet":
            return kohya(place, layer, part, te="te1")
        return f"lora_unet_{SDXL_NAMES[layer.partition('.transformer_blocks')[0]]}_{_inner(layer)}.lora_{part}.weight"

    inside = {"unet": ("attn1.to_q", "attn2.to_k", "attn2.to_out.0", "net.2", "net.0.proj"), "text_encoder_2": TEXT}
    yield "sdxl, blocks as CompVis has them", by_diffusers("sdxl", with_alphas(plain("sdxl", inside, ldm)))
    yield from by_peft()
    yield from by_lycoris()


def _inner(layer: str) -> str:
    return ("transformer_blocks" + layer.partition(".transformer_blocks")[2]).replace(".", "_")


SDXL_NAMES = {
    "down_blocks.1.attentions.0": "input_blocks_4_1",
    "down_blocks.1.attentions.1": "input_blocks_5_1",
    "down_blocks.2.attentions.0": "input_blocks_7_1",
    "down_blocks.2.attentions.1": "input_blocks_8_1",
    "mid_block.attentions.0": "middle_block_1",
    "up_blocks.0.attentions.0": "output_blocks_0_1",
    "up_blocks.0.attentions.1": "output_blocks_1_1",
    "up_blocks.0.attentions.2": "output_blocks_2_1",
    "up_blocks.1.attentions.0": "output_blocks_3_1",
    "up_blocks.1.attentions.1": "output_blocks_4_1",
    "up_blocks.1.attentions.2": "output_blocks_5_1",
}


def by_peft() -> Iterator[tuple[str, Case]]:
    """Saved and merged by PEFT itself."""
    from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
    from safetensors.torch import load_file

    targets = r"(down_blocks\.0|mid_block)\..*(attn1\.to_q|attn2\.to_k|to_out\.0|conv1|proj_in)"
    for name, config in {
        "peft": LoraConfig(r=2, lora_alpha=3, target_modules=targets, init_lora_weights=False),
        "peft, patterns": LoraConfig(
            r=2,
            lora_alpha=3,
            target_modules=targets,
            rank_pattern={"attn1.to_q": 3},
            alpha_pattern={"attn2.to_k": 5, "conv1": 1},
            init_lora_weights=False,
        ),
        "peft, rank-stabilized": LoraConfig(
            r=3, lora_alpha=2, target_modules=targets, use_rslora=True, init_lora_weights=False
        ),
        "peft, dora": LoraConfig(r=2, lora_alpha=3, target_modules=targets, use_dora=True, init_lora_weights=False),
        "peft, loha": LoHaConfig(r=2, alpha=3, target_modules=targets, init_weights=False),
        "peft, lokr": LoKrConfig(r=2, alpha=3, target_modules=targets, decompose_both=True, init_weights=False),
    }.items():
        torch.manual_seed(2)
        made = models("sd1")
        before = weights(made)
        wrapped = get_peft_model(made["unet"], config)
        for key, value in wrapped.named_parameters():
            if "hada" in key or "lokr" in key or "lora_A" in key or "lora_B" in key:
                value.data = torch.randn_like(value) * 0.3
            if "magnitude" in key:
                value.data *= 1 + 0.3 * torch.rand_like(value)
        folder = Path(tempfile.mkdtemp())
        wrapped.save_pretrained(folder)
        file = load_file(folder / "adapter_model.safetensors")
        made["unet"] = wrapped.merge_and_unload()
        own = json.loads((folder / "adapter_config.json").read_text())
        kept = (
            "peft_type",
            "r",
            "lora_alpha",
            "alpha",
            "rank_pattern",
            "alpha_pattern",
            "use_rslora",
            "use_dora",
            "bias",
        )
        yield (
            name,
            {
                "pipeline": "sd1",
                "files": [file],
                "weights": [1.0],
                "changed": list(changed(before, weights(made))),
                "config": {key: own[key] for key in kept if key in own},
            },
        )


def by_lycoris() -> Iterator[tuple[str, Case]]:
    """What attached modules of LyCORIS compute, by what they make of impulses: merging squares the strength of some."""
    from lycoris.modules.full import FullModule
    from lycoris.modules.locon import LoConModule
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule
    from lycoris.modules.norms import NormModule

    usual: dict[str, Any] = {"lora_dim": 2, "alpha": 3.0}
    kinds: dict[str, tuple[type, dict[str, Any]]] = {
        "lycoris, lora": (LoConModule, usual),
        "lycoris, lora with mid": (LoConModule, {**usual, "use_tucker": True}),
        "lycoris, loha": (LohaModule, usual),
        "lycoris, loha with t": (LohaModule, {**usual, "use_tucker": True}),
        "lycoris, lokr": (LokrModule, {**usual, "factor": 2}),
        "lycoris, lokr of factors": (LokrModule, {"lora_dim": 1, "alpha": 2.0, "factor": 2, "decompose_both": True}),
        "lycoris, lokr of whole ones": (LokrModule, {**usual, "factor": 2, "full_matrix": True}),
        "lycoris, dora of outputs": (LoConModule, {**usual, "weight_decompose": True, "wd_on_out": True}),
        "lycoris, dora of inputs": (LoConModule, {**usual, "weight_decompose": True, "wd_on_out": False}),
        "lycoris, loha, dora": (LohaModule, {**usual, "weight_decompose": True, "wd_on_out": True}),
        "lycoris, full": (FullModule, {}),
        "lycoris, norms": (NormModule, {}),
    }
    for name, (kind, options) in kinds.items():
        torch.manual_seed(3)
        model = models("sd1")["unet"]
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        endings = (
            ("norm1", "norm2", "norm3")
            if kind is NormModule
            else ("attn1.to_q", "attn2.to_k", "net.2", "conv1", "proj_in")
        )
        file, found = {}, []
        for layer, module in model.named_modules():
            wanted = isinstance(module, nn.LayerNorm | nn.GroupNorm if kind is NormModule else nn.Linear | nn.Conv2d)
            if not (wanted and layer.endswith(endings) and layer.startswith(("down_blocks.0.", "mid_block.res"))):
                continue
            extra = {} if kind is NormModule else {"bypass_mode": False}
            own = {**options, **({"alpha": 1.0 + len(found) % 4} if "alpha" in options else {}), **extra}
            attached = kind(f"lora_unet_{layer.replace('.', '_')}", module, 1.0, **own)
            for key, value in attached.named_parameters():
                if "org" not in key and "dora" not in key:
                    value.data = torch.randn_like(value) * 0.3
                if "dora" in key:
                    value.data = value * (1 + 0.3 * torch.rand_like(value))
            with torch.no_grad():
                biased = getattr(module, "bias", None) is not None
                attached.apply_to()
                for key, value in (attached.custom_state_dict() or attached.state_dict()).items():
                    if torch.is_tensor(value):
                        file[f"{attached.lora_name}.{key}"] = value.detach().clone().contiguous()
                weight, bias = effective(module, biased)
            parameter = f"unet/{layer}.weight"
            found.append((parameter, before[f"{layer}.weight"], weight))
            if bias is not None and not torch.allclose(bias, before[f"{layer}.bias"], atol=1e-6):
                found.append((f"unet/{layer}.bias", before[f"{layer}.bias"], bias))
        yield name, {"pipeline": "sd1", "files": [file], "weights": [1.0], "changed": found}


def effective(module: nn.Module, biased: bool) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias of a layer, or of what is attached to it, by its results."""
    forward = module.forward
    if isinstance(module, nn.Linear):
        bias = forward(torch.zeros(1, module.in_features))
        return (forward(torch.eye(module.in_features)) - bias).T.contiguous(), bias[0] if biased else None
    if isinstance(module, nn.Conv2d):
        side, inputs = module.kernel_size[0], module.in_channels
        size, middle = 2 * side - 1, side - 1
        given = torch.zeros(inputs, inputs, size, size)
        given[torch.arange(inputs), torch.arange(inputs), middle, middle] = 1
        bias = forward(torch.zeros(1, inputs, size, size))
        made, pad = forward(given) - bias, module.padding[0]
        start = middle - (side - 1 - pad)
        weight = made[:, :, start : start + side, start : start + side].flip(2, 3).transpose(0, 1)
        return weight.contiguous(), bias[0, :, 0, 0] if biased else None
    assert isinstance(module, nn.GroupNorm | nn.LayerNorm)
    hidden = module.num_channels if isinstance(module, nn.GroupNorm) else module.normalized_shape[0]
    given = torch.randn(4, hidden, 3) if isinstance(module, nn.GroupNorm) else torch.randn(4, hidden)
    shown = forward(given)
    if isinstance(module, nn.GroupNorm):
        plain = nn.functional.group_norm(given, module.num_groups, eps=module.eps)
        plain, shown = plain.permute(0, 2, 1).reshape(-1, hidden), shown.permute(0, 2, 1).reshape(-1, hidden)
    else:
        plain = nn.functional.layer_norm(given, (hidden,), eps=module.eps)
    a, b = plain[0], plain[1]
    weight = (shown[0] - shown[1]) / (a - b)
    return weight, shown[0] - weight * a


def main() -> None:
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    about: dict[str, str] = {}
    for name, case in cases():
        for number, file in enumerate(case["files"]):
            tensors.update({f"{name}/file{number}/{key}": value for key, value in file.items()})
        for parameter, old, new in case["changed"]:
            tensors[f"{name}/base/{parameter}"] = old.half()
            tensors[f"{name}/want/{parameter}"] = new
        assert case["changed"], name
        print(name, len(case["changed"]), sum(len(file) for file in case["files"]))
        about[name] = json.dumps(
            {key: case.get(key) for key in ("pipeline", "weights", "config", "metadata")}, sort_keys=True
        )
    save_file({key: value.contiguous() for key, value in tensors.items()}, FILE, about)
    print(FILE.stat().st_size)


if __name__ == "__main__":
    main()
