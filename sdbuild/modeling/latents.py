"""The scale of a VAE's latent images against the one constant that apps use for all models of a family.

diffusers multiplies latent images by ``scaling_factor`` after encoding, and divides by it before decoding; some VAEs also have
a ``shift_factor``, taken off before the one and added after the other. An app has the family's constant and no shift, so what
a VAE of its own has beyond that is built into its two halves.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DEFAULT_SCALE = 0.18215  # diffusers' for a configuration that does not say (``AutoencoderKL``)


@dataclass(frozen=True)
class Latents:
    """How a VAE's own latent images, as it decodes them, come from those that an app divided by the family's constant:
    ``own = factor * given + shift``.
    """

    factor: float = 1.0
    shift: float = 0.0

    @property
    def differ(self) -> bool:
        """Whether there is anything to do."""
        return (self.factor, self.shift) != (1.0, 0.0)


def latents_of(config: Mapping[str, Any], family_scale: float | None) -> Latents:
    """Of a VAE's ``config.json``, for apps that use ``family_scale``; factors that differ by rounding are the same.

    None for the scale: whoever runs the halves takes the VAE's own numbers.
    """
    if family_scale is None:
        return Latents()
    own = config.get("scaling_factor", _DEFAULT_SCALE)
    factor = 1.0 if math.isclose(own, family_scale, rel_tol=1e-6) else family_scale / own
    return Latents(factor, config.get("shift_factor") or 0.0)
