"""Models of diffusers and transformers as these build them, from what a configuration says of the architecture and no more.

A configuration can also name code of others to load, such as an implementation of attention on the hub, or types and devices;
that part reaches neither library, and attention is chosen here. Weights are the caller's affair: build within
``torch.device("meta")``.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig

from sdbuild.errors import SourceError, in_brief
from sdbuild.sources.architectures import known_part

Config = Mapping[str, Any]

T = TypeVar("T")

_ATTENTION = "sdpa"  # transformers' own choice for CLIP, by torch's scaled_dot_product_attention


def text_encoder(config: Config) -> CLIPTextModel | CLIPTextModelWithProjection:
    """The class that the configuration names."""
    projected = "CLIPTextModelWithProjection" in (config.get("architectures") or ())
    model_class = CLIPTextModelWithProjection if projected else CLIPTextModel
    known = _known(model_class, config)
    return _made(lambda: model_class(CLIPTextConfig(**known, attn_implementation=_ATTENTION)), model_class)


def unet(config: Config) -> UNet2DConditionModel:
    """The UNet."""
    known = _known(UNet2DConditionModel, config)
    return _made(lambda: UNet2DConditionModel(**known), UNet2DConditionModel)


def vae(config: Config) -> AutoencoderKL:
    """Both halves."""
    known = _known(AutoencoderKL, config)
    return _made(lambda: AutoencoderKL(**known), AutoencoderKL)


def safety_checker(
    config: Config, model_class: type[StableDiffusionSafetyChecker] = StableDiffusionSafetyChecker
) -> StableDiffusionSafetyChecker:
    """The safety checker, or a class made of it."""
    known = _known(StableDiffusionSafetyChecker, config)
    seeing, above = known.pop("vision_config", None) or {}, known.pop("vision_config_dict", None)

    def make() -> StableDiffusionSafetyChecker:
        # As transformers has it, vision_config_dict stands above vision_config, with its defaults as well.
        vision = seeing | (CLIPVisionConfig(**above).to_dict() if above is not None else {})
        return model_class(CLIPConfig(vision_config=vision | {"attn_implementation": _ATTENTION}, **known))

    return _made(make, StableDiffusionSafetyChecker)


def _made(make: Callable[[], T], model_class: type) -> T:
    """What the library makes of keys that are all right one by one, or what it has against them together."""
    try:
        return make()
    except MemoryError:
        raise
    except Exception as error:  # these libraries raise of every kind
        raise SourceError(f"no {model_class.__name__} can be made of this config.json: {in_brief(error)}") from error


def _known(model_class: type, config: Config) -> dict[str, Any]:
    known = known_part(model_class.__name__, config, "config.json")
    return {key: value for key, value in known.items() if key not in ("_class_name", "architectures")}
