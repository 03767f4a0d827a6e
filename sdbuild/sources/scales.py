"""The scale of a VAE's latent images against the one constant that apps use for all models of a family."""

import math
from collections.abc import Mapping
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import shown

_SCALES = {
    0.18215: "Stable Diffusion 1 and 2",
    0.13025: "Stable Diffusion XL",
    0.08333: "the upscaler of Stable Diffusion 2",
    0.3611: "Flux",
    0.41407: "Sana",
    1.5305: "Stable Diffusion 3",
}
"""By what families multiply their latent images after encoding: each means another space of latent images."""
_DEFAULT = 0.18215  # diffusers' for a configuration that does not say


def check_scale(source: str, config: Mapping[str, Any], family: str, family_scale: float) -> list[str]:
    """A VAE's ``scaling_factor`` and ``shift_factor`` against the constant of the recipe's pipeline.

    Returns:
        What the user should know: that a scale of the model's own, or a shift, is built into the VAE's halves.

    Raises:
        SourceError: the factor is another family's, or no number that could be one.
    """
    scale, shift = config.get("scaling_factor", _DEFAULT), config.get("shift_factor")
    if not (_is_number(scale) and 1e-3 <= scale <= 1e3):
        raise SourceError(
            f"{source}: the VAE's config.json has scaling_factor: {shown(scale)}, which is no scale of latent images; it is "
            f"{family_scale:g} for `pipeline: {family}`"
        )
    if shift is not None and not (_is_number(shift) and abs(shift) <= 1e3):
        raise SourceError(
            f"{source}: the VAE's config.json has shift_factor: {shown(shift)}, which is no shift of latent images; take it "
            "out, or name a VAE of that pipeline"
        )
    if math.isclose(scale, family_scale, rel_tol=1e-6):
        own = []
    else:
        for other, title in _SCALES.items():
            if math.isclose(scale, other, rel_tol=1e-4) and not math.isclose(other, family_scale, rel_tol=1e-4):
                raise _of_another(source, config, other, title, family, family_scale)
        own = [f"scaling_factor {scale:g}"]
    if shift:
        own.append(f"shift_factor {shift:g}")
    if not own:
        return []
    return [
        f"the VAE has {' and '.join(own)}, and apps multiply and divide the latent images of `pipeline: {family}` by "
        f"{family_scale:g}: the difference is built into the VAE, so leave the app's constant as it is"
    ]


def _of_another(
    source: str, config: Mapping[str, Any], scale: float, title: str, family: str, family_scale: float
) -> SourceError:
    if "scaling_factor" in config:
        said = f"its config.json has scaling_factor: {scale:g}"
    else:
        said = f"its config.json has no scaling_factor, which means {scale:g}"
    return SourceError(
        f"{source}: the VAE is one of {title} ({said}), and the UNet of `pipeline: {family}` works in another space of latent "
        f"images ({family_scale:g}): name a VAE of that pipeline"
        + (
            ""
            if "scaling_factor" in config
            else f', or write `"scaling_factor": {family_scale:g}` there if this is one'
        )
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
