"""The components of a pipeline as modules to trace: tensors in, tensors out, as the Swift package calls them.

Each is built on the meta device from its configuration: no weight is read or made. `KINDS` maps the kind that a family
file names to its builder.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from sdbuild.errors import SourceError, in_brief, tells_of_no_memory
from sdbuild.modeling import library
from sdbuild.modeling.channels_first import channels_first
from sdbuild.modeling.latents import Latents, latents_of
from sdbuild.modeling.safety import SafetyChecker

_FILTERED_IMAGE = 512
"""Sides of the image that a safety checker blanks: the Swift package passes one of this size whatever the image's own, and
looks at the verdict alone."""

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Shape:
    """What the user chose of a model's shape.

    ``height`` and ``width`` are the image's in pixels, ``tokens`` the prompt's length, ``batch`` the UNet's; ``vae_scale`` is
    what apps multiply latent images by after encoding, and divide them by before decoding (None: the VAE's own).
    """

    height: int = 0
    width: int = 0
    batch: int = 1
    tokens: int = 77
    vae_factor: int = 8
    vae_scale: float | None = None


@dataclass(frozen=True)
class Component:
    """A module without weights, and arguments to trace it with; all float32, on the meta device."""

    module: nn.Module
    arguments: tuple[Tensor, ...]


class _TextEncoder(nn.Module):
    """input_ids float32 [1, tokens] → last_hidden_state [1, tokens, D], pooled_outputs [1, D]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def run(self, input_ids: Tensor, **options: Any) -> Any:
        ids = input_ids.to(torch.int32)
        # Positions are given, for the model's own buffer of them has no content on the meta device.
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        return self.model(ids, position_ids=positions, return_dict=True, **options)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        result = self.run(input_ids)
        return result.last_hidden_state, result.pooler_output


class _PooledTextEncoder(_TextEncoder):
    """SDXL: input_ids float32 [1, tokens] → hidden_embeds [1, tokens, D] (of the last layer but one), pooled_outputs [1, N]."""

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        result = self.run(input_ids, output_hidden_states=True)
        pooled = result.text_embeds if hasattr(result, "text_embeds") else result.pooler_output
        return result.hidden_states[-2], pooled


class _UNet(nn.Module):
    """sample [B, 4, h, w], timestep [B], encoder_hidden_states [B, D, 1, tokens] → noise_pred [B, 4, h, w]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> tuple[Tensor]:
        return (self.model(sample, timestep, encoder_hidden_states, return_dict=False)[0],)


class _UNetXL(_UNet):
    """As the UNet, with time_ids [B, 6] and text_embeds [B, N]."""

    def forward(  # type: ignore[override]
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, time_ids: Tensor, text_embeds: Tensor
    ) -> tuple[Tensor]:
        added = {"time_ids": time_ids, "text_embeds": text_embeds}
        result = self.model(sample, timestep, encoder_hidden_states, added_cond_kwargs=added, return_dict=False)
        return (result[0],)


class _VAEDecoder(nn.Module):
    """z [1, 4, h, w], already divided by the family's scale → image [1, 3, H, W] in [-1, 1]."""

    def __init__(self, model: AutoencoderKL, latents: Latents) -> None:
        super().__init__()
        self.model = model
        self.latents = latents

    def forward(self, z: Tensor) -> tuple[Tensor]:
        if self.latents.differ:
            z = z * self.latents.factor + self.latents.shift
        if self.model.post_quant_conv is not None:
            z = self.model.post_quant_conv(z)
        return (self.model.decoder(z),)


class _VAEEncoder(_VAEDecoder):
    """z (the image) [1, 3, H, W] in [-1, 1] → latent: 4 mean and 4 log-variance channels [1, 8, h, w]."""

    def forward(self, z: Tensor) -> tuple[Tensor]:
        moments = self.model.encoder(z)
        if self.model.quant_conv is not None:
            moments = self.model.quant_conv(moments)
        if self.latents.differ:
            mean, log_variance = moments.chunk(2, dim=1)
            mean = (mean - self.latents.shift) * (1 / self.latents.factor)
            moments = torch.cat([mean, log_variance - 2 * math.log(self.latents.factor)], dim=1)
        return (moments,)


def _example(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="meta")


def _text_encoder(config: Config, shape: Shape) -> Component:
    return Component(_TextEncoder(library.text_encoder(config)), (_example(1, shape.tokens),))


def _pooled_text_encoder(config: Config, shape: Shape) -> Component:
    return Component(_PooledTextEncoder(library.text_encoder(config)), (_example(1, shape.tokens),))


def _unet_model(config: Config, shape: Shape) -> tuple[UNet2DConditionModel, tuple[Tensor, ...]]:
    model = library.unet(config)
    channels_first(model)
    height, width = shape.height // shape.vae_factor, shape.width // shape.vae_factor
    batch, context = shape.batch, model.config.cross_attention_dim
    sample = _example(batch, model.config.in_channels, height, width)
    return model, (sample, _example(batch), _example(batch, context, 1, shape.tokens))


def _unet(config: Config, shape: Shape) -> Component:
    model, arguments = _unet_model(config, shape)
    return Component(_UNet(model), arguments)


def _unet_xl(config: Config, shape: Shape) -> Component:
    model, arguments = _unet_model(config, shape)
    ids = 6  # original size, crop, target size: two numbers each
    embeds = model.config.projection_class_embeddings_input_dim - ids * model.config.addition_time_embed_dim
    return Component(_UNetXL(model), (*arguments, _example(shape.batch, ids), _example(shape.batch, embeds)))


def _vae_decoder(config: Config, shape: Shape) -> Component:
    model = library.vae(config)
    latents = _example(
        1, model.config.latent_channels, shape.height // shape.vae_factor, shape.width // shape.vae_factor
    )
    return Component(_VAEDecoder(model, latents_of(config, shape.vae_scale)), (latents,))


def _vae_encoder(config: Config, shape: Shape) -> Component:
    model = library.vae(config)
    latents = latents_of(config, shape.vae_scale)
    return Component(_VAEEncoder(model, latents), (_example(1, model.config.in_channels, shape.height, shape.width),))


def _safety_checker(config: Config, _: Shape) -> Component:
    model = library.safety_checker(config)
    vision = model.config.vision_config
    images = _example(1, _FILTERED_IMAGE, _FILTERED_IMAGE, 3)
    seen = _example(1, vision.num_channels, vision.image_size, vision.image_size)
    return Component(SafetyChecker(model), (seen, images, _example(1)))


KINDS: dict[str, Callable[[Config, Shape], Component]] = {
    "clip_text": _text_encoder,
    "clip_text_pooled": _pooled_text_encoder,
    "unet": _unet,
    "unet_xl": _unet_xl,
    "vae_decoder": _vae_decoder,
    "vae_encoder": _vae_encoder,
    "safety_checker": _safety_checker,
}


def build(kind: str, config: Config, shape: Shape) -> Component:
    """Build a component of the given kind on the meta device, in inference mode.

    Raises:
        UserError: a configuration that the kind cannot be.
    """
    with torch.device("meta"):
        try:
            component = KINDS[kind](config, shape)
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:  # of the libraries, about what it says
            if tells_of_no_memory(str(error)):
                raise
            raise SourceError(f"trace: no {kind} can be made of this config.json: {in_brief(error)}") from error
    component.module.eval()
    return component
