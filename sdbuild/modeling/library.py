"""Models of diffusers and transformers as these build them, from what a configuration says of the architecture and no more.

A configuration can also name code of others to load, such as an implementation of attention on the hub, or types and devices;
that part reaches neither library, and attention is chosen here. Weights are the caller's affair: build within
``torch.device("meta")``.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig

from sdbuild.sources.architectures import known_part

Config = Mapping[str, Any]

_ATTENTION = "sdpa"  # transformers' own choice for CLIP, by torch's scaled_dot_product_attention


def text_encoder(config: Config) -> CLIPTextModel | CLIPTextModelWithProjection:
    """The class that the configuration names."""
    projected = "CLIPTextModelWithProjection" in (config.get("architectures") or ())
    model_class = CLIPTextModelWithProjection if projected else CLIPTextModel
    known = _known(model_class, config)
    return model_class(CLIPTextConfig(**known, attn_implementation=_ATTENTION))


def unet(config: Config) -> UNet2DConditionModel:
    """The UNet."""
    return UNet2DConditionModel(**_known(UNet2DConditionModel, config))


def vae(config: Config) -> AutoencoderKL:
    """Both halves."""
    return AutoencoderKL(**_known(AutoencoderKL, config))


def safety_checker(
    config: Config, model_class: type[StableDiffusionSafetyChecker] = StableDiffusionSafetyChecker
) -> StableDiffusionSafetyChecker:
    """The safety checker, or a class made of it."""
    known = _known(StableDiffusionSafetyChecker, config)
    vision = (known.pop("vision_config", None) or {}) | _whole(known.pop("vision_config_dict", None))
    return model_class(CLIPConfig(vision_config=vision | {"attn_implementation": _ATTENTION}, **known))


def _whole(vision: Config | None) -> dict[str, Any]:
    """What transformers makes of a ``vision_config_dict``: it stands above ``vision_config``, with its defaults as well."""
    return CLIPVisionConfig(**vision).to_dict() if vision is not None else {}


def _known(model_class: type, config: Config) -> dict[str, Any]:
    known = known_part(model_class.__name__, config, "config.json")
    return {key: value for key, value in known.items() if key not in ("_class_name", "architectures")}
