"""Which of diffusers' schedulers. Nothing heavy is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A class of diffusers, and what is set beside the model's numbers."""

    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


PNDM = Kind("PNDMScheduler", {"skip_prk_steps": True})
"""For models that name none of their own."""


def own_kind(numbers: Mapping[str, Any]) -> Kind:
    """The model's own kind."""
    return Kind(str(numbers["_class_name"])) if "_class_name" in numbers else PNDM
