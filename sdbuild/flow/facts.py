"""The facts of a pipeline that its flow goes by, whatever family it is of. Nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from sdbuild.wiring import Part, Sizes

Rng = Literal["numpy", "torch"]
"""Whose random numbers: NumPy's, as Apple's packages use them, or torch's, as diffusers does."""


@dataclass(frozen=True, kw_only=True)
class Facts(Sizes):
    """Sizes of a pipeline's tensors, its scheduler, and how its networks are joined."""

    scheduler: Mapping[str, Any]
    """The model's ``scheduler_config.json``."""
    scheduler_overrides: Mapping[str, Any] = field(default_factory=dict)
    """What schedulers are made with, whatever that configuration says."""
    parts: tuple[Part, ...] = ()
    """The networks that there are, in the order they run."""

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """Of one image: [1, channels, height, width]."""
        return 1, self.latent_channels, self.height // self.vae_factor, self.width // self.vae_factor

    @cached_property
    def text_encoders(self) -> tuple[Part, ...]:
        """In the order in which their results are put side by side."""
        return tuple(part for part in self.parts if part.role == "text_encoder")

    @cached_property
    def denoiser(self) -> Part | None:
        """The network that is run step by step."""
        return self._only("denoiser")

    @cached_property
    def decoder(self) -> Part | None:
        """From latent images to pixels."""
        return self._only("decoder")

    @cached_property
    def encoder(self) -> Part | None:
        """From pixels to latent images."""
        return self._only("encoder")

    @cached_property
    def checker(self) -> Part | None:
        """Whether an image may be shown."""
        return self._only("checker")

    @property
    def takes_sizes(self) -> bool:
        """Whether the denoiser is given sizes of images beside the prompt."""
        return self.denoiser is not None and self.denoiser.input("sizes") is not None

    def _only(self, role: str) -> Part | None:
        return next((part for part in self.parts if part.role == role), None)
