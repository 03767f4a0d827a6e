"""Whether a model is what the recipe takes it for, told from its configurations before anything heavy is done.

Each check raises SourceError at the first mismatch: what was found, what the recipe says, what to do. What a
configuration leaves out has the default of diffusers.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.families import Families, advice, families_of, mismatch
from sdbuild.sources.base import shown
from sdbuild.sources.configs import class_of

Config = Mapping[str, Any]
Encoders = Mapping[str, Mapping[str, int] | None]
"""Of a family's text encoders, by folder: ``hidden_size`` and ``projection_dim``."""

_UNET_ATTENDS_TO = 1280  # numbers a token, where a UNet does not say

_TASKS = {
    5: "a depth-to-image model: its UNet takes 5 channels, one of them depth",
    7: "an upscaler: its UNet takes 7 channels, three of them pixels",
    8: "an image-editing model: its UNet takes 8 channels, half of them the image to edit",
    9: "an inpainting model: its UNet takes 9 channels, five of them the mask and the image under it",
}
_BLOCKS = frozenset(f"{attention}{way}Block2D" for attention in ("", "Attn", "CrossAttn") for way in ("Down", "Up"))
"""What a UNet may be made of; other blocks take the prompt or the time in another form."""
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "addition_embed_type": (None, "text_time"),
    "attention_type": ("default", None),
    "class_embed_type": (None,),
    "dual_cross_attention": (None, False),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_type": (None, "UNetMidBlock2D", "UNetMidBlock2DCrossAttn"),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "resnet_time_scale_shift": (None, "default"),
    "time_embedding_type": ("positional", None),
    "timestep_post_act": (None,),
}
"""What some options of a UNet may say, the default first. Else it takes more than a latent image, a time and a prompt (such as
boxes to place things in, by a gated ``attention_type``), or brings them to its blocks in another way."""


def check_index(source: str, index: Config, families: Families) -> None:
    """The pipeline that model_index.json names against those that can be built."""
    found = class_of(index) or "no class"
    if not families_of(found, families):
        raise SourceError(
            f"{source}: model_index.json names {found}, which can't be built; name a model of one of the pipelines "
            f"{', '.join(families)}"
        )
    if "Inpaint" in found:
        raise _other_task(source, f"an inpainting model: model_index.json names {found}")


def check_pipeline(
    source: str, index: Config, unet: Config | None, family: str, families: Families, latent_channels: int
) -> None:
    """model_index.json and, where there is one to look at, the UNet's config against the recipe's pipeline."""
    found = class_of(index)
    if unet is not None:
        _check_unet(source, unet, family, latent_channels)
        if wrong := mismatch(unet, family, families):
            raise SourceError(f"{source}: {wrong[0]}, but the recipe says `pipeline: {family}`; {wrong[1]}")
    right = families_of(found, families)
    if family not in right:
        raise SourceError(
            f"{source}: model_index.json names {found}, but the recipe says `pipeline: {family}`; {advice(right)}"
        )


def _check_unet(source: str, config: Config, family: str, latent_channels: int) -> None:
    if class_of(config) != "UNet2DConditionModel":
        return
    channels = config.get("in_channels", 4)
    if channels != latent_channels:
        if channels in _TASKS and config.get("out_channels", 4) == latent_channels:
            raise _other_task(source, _TASKS[channels])
        raise SourceError(
            f"{source}: the UNet takes {channels} channels, and latent images of `pipeline: {family}` have {latent_channels}; "
            "name a text-to-image model of that pipeline"
        )
    blocks = [*(config.get("down_block_types") or ()), *(config.get("up_block_types") or ())]
    odd = [shown(kind) for kind in blocks if kind.removeprefix("UNetRes") not in _BLOCKS]
    odd += [f"{key}: {shown(config[key])}" for key, known in _OPTIONS.items() if config.get(key, known[0]) not in known]
    if odd:
        raise SourceError(
            f"{source}: the UNet is of a kind that can't be built (its config.json has {', '.join(dict.fromkeys(odd))}); name "
            f"a text-to-image model of `pipeline: {family}`"
        )


def check_guidance(source: str, unet: Config, guided: bool) -> None:
    """Whether the recipe says a guidance scale, exactly where the UNet takes one beside the time."""
    width = unet.get("time_cond_proj_dim")
    if width is not None and not guided:
        raise SourceError(
            f"{source}: the UNet takes the guidance scale as an input (its config.json has time_cond_proj_dim: {width}), and "
            "apps give none; write `guidance_embedding: 8` under `model:` to build one in, counted as diffusers' "
            "guidance_scale"
        )
    if width is None and guided:
        raise SourceError(
            f"{source}: the UNet takes no guidance scale (its config.json has no time_cond_proj_dim), and the recipe has "
            "`guidance_embedding`: remove that key, and write guidance under `generate:`"
        )


def check_tokens(source: str, folder: str, config: Config, family: str, tokens: int) -> None:
    """A text encoder's places for tokens against the family's length of a prompt."""
    places = config.get("max_position_embeddings", 77)
    if places < tokens:
        raise SourceError(
            f"{source}: {folder} takes prompts of {places} tokens, and `pipeline: {family}` has {tokens}; name a model of that "
            "pipeline"
        )


def check_vae(
    source: str, config: Config, family: str, vae_factor: int, latent_channels: int, latent_statistics: bool
) -> None:
    """The VAE's factor and channels against the family, whose pipelines may heed ``latent_statistics``."""
    factor = 2 ** (len(config.get("block_out_channels", [64])) - 1)
    if factor != vae_factor:
        raise SourceError(
            f"{source}: the VAE makes one latent pixel of {factor:g}x{factor:g}, and `pipeline: {family}` wants "
            f"{vae_factor}x{vae_factor}; name a VAE of that pipeline"
        )
    if latent_statistics and config.get("latents_mean") is not None and config.get("latents_std") is not None:
        raise SourceError(
            f"{source}: the VAE has a mean and a scale for each channel of its latent images (latents_mean and latents_std in "
            "its config.json), and apps have one scale for all; name a model without them"
        )
    channels = config.get("latent_channels", 4)
    if channels != latent_channels:
        raise SourceError(
            f"{source}: the VAE's latent images have {channels} channels, and the UNet of `pipeline: {family}` takes "
            f"{latent_channels}; name a VAE of that pipeline"
        )


def check_refiner(source: str, index: Config, unet: Config, encoders: Encoders, image_sizes: int) -> None:
    """Whether a UNet that should take ``image_sizes`` numbers is a refiner's: with an aesthetic score where the base has the
    two of the size to generate, it takes one less, and the second text encoder's prompts alone.
    """
    if not image_sizes:
        return
    base, refiner = (_pooled(unet, numbers) for numbers in (image_sizes, image_sizes - 1))
    given = list(encoders.values())[-1] if encoders else None
    said = {given["projection_dim"]} if given else {unet.get("cross_attention_dim", _UNET_ATTENDS_TO)}
    if index.get("requires_aesthetics_score") is True or (refiner in said and base not in said):
        raise SourceError(
            f"{source}: a refiner of Stable Diffusion XL: its UNet takes an aesthetic score, and one text encoder's prompts; "
            "it can't be built yet, so name a base model, such as stabilityai/stable-diffusion-xl-base-1.0"
        )


def check_prompt_width(source: str, unet: Config, encoders: Encoders, image_sizes: int) -> None:
    """The text encoders' widths, side by side, against what the UNet attends to, and the last one's pooled output against what
    it takes beside ``image_sizes`` numbers.

    ``encoders``, in the family's order, has None for one that the source lacks.
    """
    there = {name: widths for name, widths in encoders.items() if widths is not None}
    width, wanted = (
        sum(each["hidden_size"] for each in there.values()),
        unet.get("cross_attention_dim", _UNET_ATTENDS_TO),
    )
    if width > wanted or (width == wanted) != (len(there) == len(encoders)):
        verb, rest = "gives" if len(there) == 1 else "give", [name for name in encoders if name not in there]
        missing = f", with {' and '.join(rest)} still to come" if rest else ""
        raise SourceError(
            f"{source}: {' and '.join(there)} {verb} {width} numbers a token{missing}, and the UNet takes {wanted}; they are "
            "of different models: name a source whose parts belong together"
        )
    name, last = list(encoders.items())[-1]
    pooled = _pooled(unet, image_sizes) if image_sizes else None
    if last is not None and pooled is not None and last["projection_dim"] != pooled:
        raise SourceError(
            f"{source}: {name} gives {last['projection_dim']} numbers for a whole prompt, and the UNet takes {pooled} beside "
            "the image sizes; they are of different models: name a source whose parts belong together"
        )


def _pooled(unet: Config, numbers: int) -> int | None:
    """How much of the row that a UNet is conditioned on is left for the pooled prompt, beside so many embedded numbers."""
    row, size = unet.get("projection_class_embeddings_input_dim"), unet.get("addition_time_embed_dim")
    return None if row is None or size is None else row - numbers * size


def advise_on_precision(source: str, vae: Config, precision: Mapping[str, str], warn: Callable[[str], None]) -> None:
    """What is built of a VAE, by name, against what its configuration says of float16, as diffusers understands it."""
    bears = vae.get("force_upcast", True) is False
    for name, built in precision.items():
        if built == "float32" and bears:
            warn(
                f"{source}: the VAE is made for float16 (force_upcast: false in its config.json), and {name} is built in "
                f"float32; write `precision: {{{name}: float16}}` for half the size, and for the Neural Engine"
            )
        if built == "float16" and not bears:
            warn(
                f"{source}: {name} is built in float16, and the VAE's config.json does not say force_upcast: false: its "
                "numbers may outgrow float16 and images come out black; remove it from `precision:`, or look at images"
            )


def check_vocabulary(source: str, folder: str, vocabulary: Mapping[str, int], encoder: Config) -> None:
    """The tokenizer's numbers against the text encoder's table."""
    size = encoder.get("vocab_size")
    if isinstance(size, int) and max(vocabulary.values()) >= size:
        raise SourceError(
            f"{source}: {folder} knows {max(vocabulary.values()) + 1} tokens, and the text encoder {size}; they are of "
            "different models: name a source whose parts belong together"
        )


def check_resolution(unet: Config, vae_factor: int, width: int, height: int) -> None:
    """The image size, in pixels, against how often the UNet halves its latent image."""
    halvings = max(0, len(unet.get("down_block_types", ())) - 1)
    multiple = vae_factor * 2**halvings
    if width % multiple or height % multiple:
        often = "once" if halvings == 1 else f"{halvings} times"
        near = " or ".join(dict.fromkeys(_multiples(width, height, multiple)))
        raise SourceError(
            f"resolution: {width}x{height}: the model's UNet halves the latent image {often}, so both sides must be "
            f"multiples of {multiple}; write {near}"
        )


def _multiples(width: int, height: int, multiple: int) -> tuple[str, str]:
    down = [max(multiple, side // multiple * multiple) for side in (width, height)]
    up = [max(multiple, -(-side // multiple) * multiple) for side in (width, height)]
    return f"{down[0]}x{down[1]}", f"{up[0]}x{up[1]}"


def _other_task(source: str, what: str) -> SourceError:
    return SourceError(f"{source}: {what}; only text-to-image models can be built: name one")
