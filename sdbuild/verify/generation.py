"""What verification generates an image with, beside the networks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sdbuild.wiring import Sizes


@dataclass(frozen=True)
class Generation:
    """How an image is generated, by the originals and by what ships alike."""

    sizes: Sizes
    """Of the pipeline's tensors."""
    scheduler: Mapping[str, Any]
    """The model's ``scheduler_config.json``."""
    scheduler_overrides: Mapping[str, Any] = field(default_factory=dict)
    """What a scheduler is made with, whatever that says."""
    steps: int = 8
    """Of the scheduler."""
    guidance: float = 7.5
    """How far to go from the negative prompt to the prompt; up to 1 the prompt alone counts."""
    scheduler_name: str | None = None
    """A key of `sdbuild.scheduler_kinds.SCHEDULERS`; None: the model's own."""
    seed: int = 93
    """Of the noise (NumPy's Mersenne Twister, as in the reference tool)."""

    @property
    def guided(self) -> bool:
        """Whether the negative prompt counts."""
        return self.guidance > 1
