"""Models of diffusers and transformers as these build them, from what a configuration says of the architecture and no more.

A configuration can also name code of others to load, such as an implementation of attention on the hub, or types and devices;
that part reaches neither library, and attention is chosen here. Weights are the caller's affair: build within
``torch.device("meta")``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sdbuild.errors import SourceError, in_brief
from sdbuild.sources.architectures import known_part

if TYPE_CHECKING:  # each function imports what it makes: the libraries take seconds
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig

Config = Mapping[str, Any]

T = TypeVar("T")

_ATTENTION = "sdpa"  # transformers' own choice for CLIP, by torch's scaled_dot_product_attention


def text_encoder(config: Config) -> CLIPTextModel | CLIPTextModelWithProjection:
    """The class that the configuration names."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    projected = "CLIPTextModelWithProjection" in (config.get("architectures") or ())
    model_class = CLIPTextModelWithProjection if projected else CLIPTextModel
    known = _known(model_class, config)
    return _made(lambda: model_class(CLIPTextConfig(**known, attn_implementation=_ATTENTION)), model_class)


def unet(config: Config) -> UNet2DConditionModel:
    """The UNet."""
    from diffusers import UNet2DConditionModel

    known = _known(UNet2DConditionModel, config)
    return _made(lambda: UNet2DConditionModel(**known), UNet2DConditionModel)


def vae(config: Config) -> AutoencoderKL:
    """Both halves."""
    from diffusers import AutoencoderKL

    known = _known(AutoencoderKL, config)
    return _made(lambda: AutoencoderKL(**known), AutoencoderKL)


def safety_checker(
    config: Config, model_class: type[StableDiffusionSafetyChecker] | None = None
) -> StableDiffusionSafetyChecker:
    """The safety checker, or a class made of it."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    known = _known(StableDiffusionSafetyChecker, config)
    vision = _vision(known.pop("vision_config", None), known.pop("vision_config_dict", None))

    def make() -> StableDiffusionSafetyChecker:
        given = vision() | {"attn_implementation": _ATTENTION}
        return (model_class or StableDiffusionSafetyChecker)(CLIPConfig(vision_config=given, **known))

    return _made(make, StableDiffusionSafetyChecker)


def vision_config(config: Config) -> CLIPVisionConfig:
    """What a safety checker's configuration says of its vision model."""
    from transformers import CLIPVisionConfig

    vision = _vision(config.get("vision_config"), config.get("vision_config_dict"))
    return _made(lambda: CLIPVisionConfig(**vision()), CLIPVisionConfig)


def _vision(seeing: Config | None, above: Config | None) -> Callable[[], dict[str, Any]]:
    """As transformers has it, vision_config_dict stands above vision_config, with its defaults as well."""
    from transformers import CLIPVisionConfig

    return lambda: {**(seeing or {}), **(CLIPVisionConfig(**above).to_dict() if above is not None else {})}


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
