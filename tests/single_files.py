"""Single files as trainers write them: the true names of every tensor, in models of any size, empty or with random weights.

The names and shapes follow the modules of CompVis' latent-diffusion, OpenCLIP and transformers, written down here once more, so
that a layout that is wrong in sdbuild is not wrong in its test as well.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    """Of a UNet and what it attends to; the defaults are those of Stable Diffusion 1.x."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    depths: tuple[int, ...] = (1, 1, 1, 0)
    """Transformers in each attention of a level; 0 for none."""
    middle: int = 1
    layers: int = 2
    attends: int = 768
    takes: int = 4
    linear: bool = False
    conditioned: int = 0
    """Width of the row of pooled prompt and image sizes; 0 for none."""
    vae: tuple[int, ...] = (128, 256, 512, 512)
    width: int = 768
    text_layers: int = 12
    width_2: int = 0
    text_layers_2: int = 0
    vocabulary: int = 49408


SD1 = Sizes()
SD2 = Sizes(attends=1024, linear=True, width=1024, text_layers=24)
SDXL = Sizes((320, 640, 1280), (0, 2, 10), 10, 2, 2048, 4, True, 2816, width_2=1280, text_layers_2=32)
REFINER = Sizes(
    (384, 768, 1536, 1536),
    (0, 4, 4, 0),
    4,
    2,
    1280,
    4,
    True,
    2560,
    width=0,
    text_layers=0,
    width_2=1280,
    text_layers_2=32,
)
SMALL = {
    "sd1": Sizes((32, 64, 64), (1, 1, 0), 1, 1, 64, vae=(32, 32, 64, 64), width=64, text_layers=2),
    "sd2": Sizes((64, 128), (1, 1), 1, 2, 64, linear=True, vae=(32, 32, 64, 64), width=64, text_layers=24),
    "sdxl": Sizes((64, 64, 128), (0, 2, 3), 3, 1, 192, 4, True, 64 + 6 * 256, (32, 32, 64, 64), 64, 2, 128, 3),
    "refiner": Sizes((64, 64, 128), (0, 2, 0), 2, 1, 128, 4, True, 64 + 5 * 256, (32, 32, 64, 64), 0, 0, 128, 3),
}


def sd1(sizes: Sizes = SD1) -> Shapes:
    """A file of Stable Diffusion 1.x."""
    return {
        **_under("model.diffusion_model.", unet(sizes)),
        **_under("first_stage_model.", vae(sizes.vae)),
        **_under("cond_stage_model.transformer.", clip(sizes.width, sizes.text_layers, sizes.vocabulary)),
        **_buffers(),
    }


def sd2(sizes: Sizes = SD2) -> Shapes:
    """One of 2.x."""
    return {
        **_under("model.diffusion_model.", unet(sizes)),
        **_under("first_stage_model.", vae(sizes.vae)),
        **_under("cond_stage_model.model.", open_clip(sizes.width, sizes.text_layers, sizes.vocabulary, sizes.width)),
        **_buffers(),
    }


def of_kohya(shapes: Shapes) -> Shapes:
    """What kohya's sd-scripts save of the same model: without tables of the schedule and numbers of positions, and of 2.x, if
    not asked for them, without what its diffusers folder has not got either.
    """
    dropped = re.compile(
        r"cond_stage_model\.model\.(transformer\.resblocks\.23\..+|text_projection|logit_scale)|.+\.position_ids|denoiser\..+"
    )
    return {key: shape for key, shape in shapes.items() if key not in _buffers() and not dropped.fullmatch(key)}


def sdxl(sizes: Sizes = SDXL) -> Shapes:
    """One of XL, or with a text encoder alone of its refiner."""
    projected = sizes.conditioned - (6 if sizes.width else 5) * 256
    second = open_clip(sizes.width_2, sizes.text_layers_2, sizes.vocabulary, projected)
    first = clip(sizes.width, sizes.text_layers, sizes.vocabulary) if sizes.width else {}
    return {
        **_under("model.diffusion_model.", unet(sizes)),
        **_under("first_stage_model.", vae(sizes.vae)),
        **_under("conditioner.embedders.0.transformer.", first),
        **_under(f"conditioner.embedders.{1 if first else 0}.model.", second),
        "denoiser.sigmas": (1000,),
    }


MAKERS = {"sd1": sd1, "sd2": sd2, "sdxl": sdxl, "refiner": sdxl}


def small(family: str) -> Shapes:
    """A small file of a family, or of the refiner."""
    return MAKERS[family](SMALL[family])


def unet(sizes: Sizes) -> Shapes:
    """openaimodel.UNetModel."""
    channels, shapes, embedded = sizes.channels, Shapes(), 4 * sizes.channels[0]
    _linear(shapes, "time_embed.0", channels[0], embedded)
    _linear(shapes, "time_embed.2", embedded, embedded)
    if sizes.conditioned:
        _linear(shapes, "label_emb.0.0", sizes.conditioned, embedded)
        _linear(shapes, "label_emb.0.2", embedded, embedded)
    _conv(shapes, "input_blocks.0.0", sizes.takes, channels[0], 3)
    skips, now, number = [channels[0]], channels[0], 1
    for level, width in enumerate(channels):
        for _ in range(sizes.layers):
            _residual(shapes, f"input_blocks.{number}.0", now, width, embedded)
            _attention(shapes, f"input_blocks.{number}.1", width, sizes.depths[level], sizes)
            now, number = width, number + 1
            skips.append(now)
        if level < len(channels) - 1:
            _conv(shapes, f"input_blocks.{number}.0.op", now, now, 3)
            skips.append(now)
            number += 1
    _residual(shapes, "middle_block.0", now, now, embedded)
    _attention(shapes, "middle_block.1", now, sizes.middle, sizes)
    _residual(shapes, "middle_block.2", now, now, embedded)
    number = 0
    for level, width in reversed(list(enumerate(channels))):
        for layer in range(sizes.layers + 1):
            _residual(shapes, f"output_blocks.{number}.0", now + skips.pop(), width, embedded)
            _attention(shapes, f"output_blocks.{number}.1", width, sizes.depths[level], sizes)
            now = width
            if level and layer == sizes.layers:
                _conv(shapes, f"output_blocks.{number}.{2 if sizes.depths[level] else 1}.conv", now, now, 3)
            number += 1
    _norm(shapes, "out.0", now)
    _conv(shapes, "out.2", now, 4, 3)
    return shapes


def controlnet(sizes: Sizes) -> Shapes:
    """cldm.ControlNet."""
    down = {key: shape for key, shape in unet(sizes).items() if not key.startswith("out")}
    hint, skips = (16, 16, 32, 32, 96, 96, 256), [sizes.channels[0]]
    for level, width in enumerate(sizes.channels):
        skips += [width] * (sizes.layers + (level < len(sizes.channels) - 1))
    for number, width in enumerate(skips):
        _conv(down, f"zero_convs.{number}.0", width, width, 1)
    _conv(down, "middle_block_out.0", skips[-1], skips[-1], 1)
    for number, (given, made) in enumerate(zip((3, *hint), (*hint, sizes.channels[0]), strict=True)):
        _conv(down, f"input_hint_block.{2 * number}", given, made, 3)
    return down


def vae(channels: Sequence[int], layers: int = 2, latent: int = 4) -> Shapes:
    """autoencoder.AutoencoderKL."""
    shapes, now = Shapes(), channels[0]
    _conv(shapes, "encoder.conv_in", 3, now, 3)
    for level, width in enumerate(channels):
        for block in range(layers):
            _residual_of_vae(shapes, f"encoder.down.{level}.block.{block}", now, width)
            now = width
        if level < len(channels) - 1:
            _conv(shapes, f"encoder.down.{level}.downsample.conv", now, now, 3)
    _middle_of_vae(shapes, "encoder", now)
    _norm(shapes, "encoder.norm_out", now)
    _conv(shapes, "encoder.conv_out", now, 2 * latent, 3)
    _conv(shapes, "decoder.conv_in", latent, now, 3)
    _middle_of_vae(shapes, "decoder", now)
    for level, width in reversed(list(enumerate(channels))):
        for block in range(layers + 1):
            _residual_of_vae(shapes, f"decoder.up.{level}.block.{block}", now, width)
            now = width
        if level:
            _conv(shapes, f"decoder.up.{level}.upsample.conv", now, now, 3)
    _norm(shapes, "decoder.norm_out", now)
    _conv(shapes, "decoder.conv_out", now, 3, 3)
    _conv(shapes, "quant_conv", 2 * latent, 2 * latent, 1)
    _conv(shapes, "post_quant_conv", latent, latent, 1)
    return shapes


def clip(width: int, layers: int, vocabulary: int, level: str = "text_model.") -> Shapes:
    """transformers' CLIPTextModel."""
    shapes: Shapes = {f"{level}embeddings.position_ids": (1, 77)}
    shapes[f"{level}embeddings.token_embedding.weight"] = (vocabulary, width)
    shapes[f"{level}embeddings.position_embedding.weight"] = (77, width)
    for number in range(layers):
        place = f"{level}encoder.layers.{number}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            _linear(shapes, f"{place}.self_attn.{name}", width, width)
        _norm(shapes, f"{place}.layer_norm1", width)
        _linear(shapes, f"{place}.mlp.fc1", width, 4 * width)
        _linear(shapes, f"{place}.mlp.fc2", 4 * width, width)
        _norm(shapes, f"{place}.layer_norm2", width)
    _norm(shapes, f"{level}final_layer_norm", width)
    return shapes


def open_clip(width: int, layers: int, vocabulary: int, projected: int) -> Shapes:
    """OpenCLIP's text transformer."""
    shapes: Shapes = {"positional_embedding": (77, width), "text_projection": (width, projected), "logit_scale": ()}
    for number in range(layers):
        place = f"transformer.resblocks.{number}"
        _norm(shapes, f"{place}.ln_1", width)
        shapes[f"{place}.attn.in_proj_weight"] = (3 * width, width)
        shapes[f"{place}.attn.in_proj_bias"] = (3 * width,)
        _linear(shapes, f"{place}.attn.out_proj", width, width)
        _norm(shapes, f"{place}.ln_2", width)
        _linear(shapes, f"{place}.mlp.c_fc", width, 4 * width)
        _linear(shapes, f"{place}.mlp.c_proj", 4 * width, width)
    shapes["token_embedding.weight"] = (vocabulary, width)
    _norm(shapes, "ln_final", width)
    return shapes


def averages(shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    """LitEma's copies of a UNet's weights, and its counters."""
    prefix = "model.diffusion_model."
    copies = {
        "model_ema." + key.removeprefix("model.").replace(".", ""): shape
        for key, shape in shapes.items()
        if key.startswith(prefix)
    }
    return {**copies, "model_ema.decay": (), "model_ema.num_updates": ()}


def drawn(shapes: Mapping[str, tuple[int, ...]], dtype: type = np.float16, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded numbers, each tensor its own."""
    chance = np.random.default_rng(seed)
    return {key: chance.standard_normal(shape).astype(dtype) for key, shape in shapes.items()}


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str] | None = None) -> Path:
    """A file of safetensors with such tensors."""
    save_file({key: np.ascontiguousarray(value) for key, value in drawn(shapes).items()}, path, dict(metadata or {}))
    return path


def _under(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    return {f"{prefix}{key}": shape for key, shape in shapes.items()}


def _buffers() -> Shapes:
    names = (
        "betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod sqrt_one_minus_alphas_cumprod "
        "log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod sqrt_recipm1_alphas_cumprod posterior_variance "
        "posterior_log_variance_clipped posterior_mean_coef1 posterior_mean_coef2"
    )
    return dict.fromkeys(names.split(), (1000,))


def _linear(shapes: Shapes, name: str, given: int, made: int, bias: bool = True) -> None:
    shapes[f"{name}.weight"] = (made, given)
    if bias:
        shapes[f"{name}.bias"] = (made,)


def _conv(shapes: Shapes, name: str, given: int, made: int, side: int) -> None:
    shapes[f"{name}.weight"] = (made, given, side, side)
    shapes[f"{name}.bias"] = (made,)


def _norm(shapes: Shapes, name: str, width: int) -> None:
    shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)


def _residual(shapes: Shapes, name: str, given: int, made: int, embedded: int) -> None:
    _norm(shapes, f"{name}.in_layers.0", given)
    _conv(shapes, f"{name}.in_layers.2", given, made, 3)
    _linear(shapes, f"{name}.emb_layers.1", embedded, made)
    _norm(shapes, f"{name}.out_layers.0", made)
    _conv(shapes, f"{name}.out_layers.3", made, made, 3)
    if given != made:
        _conv(shapes, f"{name}.skip_connection", given, made, 1)


def _attention(shapes: Shapes, name: str, width: int, depth: int, sizes: Sizes) -> None:
    if not depth:
        return
    _norm(shapes, f"{name}.norm", width)
    for layer in ("proj_in", "proj_out"):
        if sizes.linear:
            _linear(shapes, f"{name}.{layer}", width, width)
        else:
            _conv(shapes, f"{name}.{layer}", width, width, 1)
    for number in range(depth):
        place = f"{name}.transformer_blocks.{number}"
        for attention, given in (("attn1", width), ("attn2", sizes.attends)):
            _linear(shapes, f"{place}.{attention}.to_q", width, width, bias=False)
            _linear(shapes, f"{place}.{attention}.to_k", given, width, bias=False)
            _linear(shapes, f"{place}.{attention}.to_v", given, width, bias=False)
            _linear(shapes, f"{place}.{attention}.to_out.0", width, width)
        _linear(shapes, f"{place}.ff.net.0.proj", width, 8 * width)
        _linear(shapes, f"{place}.ff.net.2", 4 * width, width)
        for norm in ("norm1", "norm2", "norm3"):
            _norm(shapes, f"{place}.{norm}", width)


def _residual_of_vae(shapes: Shapes, name: str, given: int, made: int) -> None:
    _norm(shapes, f"{name}.norm1", given)
    _conv(shapes, f"{name}.conv1", given, made, 3)
    _norm(shapes, f"{name}.norm2", made)
    _conv(shapes, f"{name}.conv2", made, made, 3)
    if given != made:
        _conv(shapes, f"{name}.nin_shortcut", given, made, 1)


def _middle_of_vae(shapes: Shapes, half: str, width: int) -> None:
    _residual_of_vae(shapes, f"{half}.mid.block_1", width, width)
    _norm(shapes, f"{half}.mid.attn_1.norm", width)
    for name in ("q", "k", "v", "proj_out"):
        _conv(shapes, f"{half}.mid.attn_1.{name}", width, width, 1)
    _residual_of_vae(shapes, f"{half}.mid.block_2", width, width)


def shapes_model(path: Path, dtype: type = np.float16) -> Path:
    """The model that ships with sdbuild as a file of Stable Diffusion 1.x; diffusers' converter says what goes where."""
    import torch
    from diffusers.loaders import single_file_utils as oracle
    from safetensors.numpy import load_file

    model = Path(__file__).parents[1] / "sdbuild" / "shapes" / "model"
    sizes = Sizes((64, 128), (1, 1), 1, 1, 128, width=128, text_layers=3, vocabulary=653)
    keys = {
        **_under("model.diffusion_model.", unet(sizes)),
        **_under("first_stage_model.", vae((16, 32, 32, 64), layers=1)),
        **_under("cond_stage_model.transformer.", clip(128, 3, 653)),
    }
    numbered = {key: torch.tensor([number]) for number, key in enumerate(keys)}
    configs = {name: json.loads((model / name / "config.json").read_text()) for name in ("unet", "vae")}
    places = {
        "unet/diffusion_pytorch_model": oracle.convert_ldm_unet_checkpoint(dict(numbered), configs["unet"]),
        "vae/diffusion_pytorch_model": oracle.convert_ldm_vae_checkpoint(dict(numbered), configs["vae"]),
        "text_encoder/model": oracle.convert_ldm_clip_checkpoint(dict(numbered)),
    }
    ordered, made = list(keys), {}
    for file, names in places.items():
        state = load_file(model / f"{file}.safetensors")
        for name, number in names.items():
            if not name.endswith("position_ids"):
                key = ordered[int(number[0])]
                value = state[name] if name in state else state[name.removeprefix("text_model.")]
                made[key] = np.ascontiguousarray(value.reshape(keys[key]).astype(dtype))
    save_file(made, path)
    return path
