"""What a single file holds: which components, what it says of its training, and whether anything in it is of no known use."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from sdbuild.errors import SourceError
from sdbuild.sources.averages import AVERAGE, averages_alone, averages_beside
from sdbuild.sources.layouts import components_in, layouts
from sdbuild.sources.layouts.base import Component
from sdbuild.sources.leftovers import WEIGHT_TYPES, check_names, listed, type_problem, unused

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type, by safetensors' names, and shape of what is in a file."""

_OF_TRAINING = (
    r"(sqrt_)?(one_minus_|recip_|recipm1_)?alphas_cumprod(_prev)?|sqrt_(recip|recipm1|one_minus)_alphas_cumprod",
    r"log_one_minus_alphas_cumprod|betas|logvar|scale_factor|lvlb_weights|posterior_\w+|denoiser\.sigmas|sigmas",
    r"(first_stage_model\.)?(loss|model_ema)\..+|callbacks\..+|optimizer\..+|global_step|epoch",
    r"depth_model\..+",
)
"""Names of a schedule's tables, which the scheduler makes itself; of what only training needs; and of the network that measures
depth for a UNet which is refused by its channels."""


@dataclass(frozen=True)
class Contents:
    """Of one file."""

    components: dict[str, Component]
    """By the folders that a diffusers model has them in."""
    prediction_type: str | None
    """What the file itself says that its UNet predicts."""
    said_by: str
    """Where it says so."""
    zero_terminal_snr: bool
    """It says that its schedule ends in noise alone."""
    has_average: bool
    """Weights that training averaged (EMA) lie beside those of the UNet."""
    about: dict[str, str]
    """``author``, ``license`` and ``version`` that its metadata tells."""


def read_contents(where: str, tensors: Tensors, metadata: Mapping[str, str], ema: bool = False) -> Contents:
    """Tell what is in a file. With ``ema``, the UNet's weights are their average.

    Raises:
        UserError: components that are not whole, weights in numbers that can't be some, or tensors that nothing is known of.
    """
    shapes = {key: shape for key, (_, shape) in tensors.items()}
    alone = averages_alone(tensors) if ema else {}
    try:
        found = components_in(shapes | {key: shapes[average] for key, average in alone.items()})
    except SourceError as error:
        raise SourceError(f"{where}: {error}") from None
    found = [_renamed(each, alone) for each in found]
    components: dict[str, Component] = {}
    for each in found:
        if each.folder in components:
            raise SourceError(
                f"{where}: there are two components for {each.folder}, as {components[each.folder].prefix}… and "
                f"{each.prefix}…; save the one that is meant, alone"
            )
        components[each.folder] = each
    averages = averages_beside(components.get("unet"), tensors)
    if ema and not alone:
        components["unet"] = _averaged(where, components.get("unet"), averages)
    prediction, said_by = _prediction(tensors, metadata)
    if components:
        _check_types(where, components.values(), tensors)
        _check_unused(where, found, tensors)
    return Contents(components, prediction, said_by, _has_mark(tensors, "ztsnr"), bool(averages), _about(metadata))


def _renamed(component: Component, keys: Mapping[str, str]) -> Component:
    """A component that takes other keys for some of its own."""
    names = {name: replace(taken, key=keys.get(taken.key, taken.key)) for name, taken in component.names.items()}
    return replace(component, names=names)


def _averaged(where: str, unet: Component | None, averages: Mapping[str, str]) -> Component:
    wanted = {taken.key for taken in unet.names.values()} if unet is not None else set()
    if unet is None or not averages:
        raise SourceError(
            f"{where}: there is no average of the weights (EMA) in it, for which the recipe asks; remove `ema: true`"
        )
    if missing := sorted(wanted - averages.keys()):
        raise SourceError(f"{where}: the average of the weights (EMA) lacks {listed(missing)}; remove `ema: true`")
    return _renamed(unet, averages)


def _prediction(tensors: Tensors, metadata: Mapping[str, str]) -> tuple[str | None, str]:
    """By a mark, or by metadata as the Stability AI Model Metadata Standard and kohya's trainers have it."""
    if _has_mark(tensors, "v_pred"):
        return "v_prediction", "the mark v_pred in it"
    said = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon", "eps": "epsilon"}
    if (found := said.get(metadata.get("modelspec.prediction_type", "").lower())) is not None:
        return found, "modelspec.prediction_type in it"
    architecture = metadata.get("modelspec.architecture", "")
    if architecture in ("stable-diffusion-v2-768-v", "stable-diffusion-v2-512"):
        return ("v_prediction" if architecture.endswith("-v") else "epsilon"), "modelspec.architecture in it"
    if metadata.get("ss_v_parameterization", "").lower() == "true":
        return "v_prediction", "ss_v_parameterization in it"
    return None, ""


def _has_mark(tensors: Iterable[str], mark: str) -> bool:
    return any(key.rpartition(".")[2] == mark for key in tensors)


def _about(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: metadata[f"modelspec.{key}"] for key in ("author", "license") if metadata.get(f"modelspec.{key}")}


def _check_types(where: str, components: Iterable[Component], tensors: Tensors) -> None:
    for component in components:
        for taken in component.names.values():
            if (dtype := tensors[taken.key][0]) not in WEIGHT_TYPES:
                raise SourceError(type_problem(where, taken.key, dtype))


def _check_unused(where: str, components: Collection[Component], tensors: Tensors) -> None:
    """Nothing may be left out in silence, but for what is known to be harmless."""
    used = {taken.key for component in components for taken in component.names.values()}
    spare = {f"{each.prefix}{key}" for each in components for key in each.spare}
    training = [re.compile(pattern) for pattern in _OF_TRAINING]
    left = {
        key: shape
        for key, (_, shape) in tensors.items()
        if key not in used
        and key not in spare
        and not key.startswith(AVERAGE)
        and not any(pattern.fullmatch(key) for pattern in training)
    }
    suspects = {key: unused({_bare(key): int(all(shape))}, (), ()) for key, shape in left.items()}
    check_names(where, [name for numbers, marks in suspects.values() for name in (*numbers, *marks)])
    if names := sorted(key for key, (numbers, _) in suspects.items() if numbers):
        raise SourceError(
            f"{where}: {listed(names)}: no component of Stable Diffusion takes {'them' if len(names) > 1 else 'it'}, and a "
            "build would leave out what they do; name a file of the plain model"
        )


def _bare(key: str) -> str:
    """Without what tools write before a component's names."""
    prefixes = sorted({prefix for layout in layouts() for prefix in layout.prefixes}, key=len, reverse=True)
    return next((key.removeprefix(prefix) for prefix in prefixes if prefix and key.startswith(prefix)), key)
