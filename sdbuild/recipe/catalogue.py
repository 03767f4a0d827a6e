"""The device catalogue: what `target.device` stands for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from sdbuild.recipe.validation import load_model

if TYPE_CHECKING:
    from sdbuild.recipe.devices import Catalogue


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue that comes with sdbuild; read when the first recipe names a device."""
    from sdbuild.recipe.devices import Catalogue

    return load_model(Catalogue, Path(__file__).with_name("devices.yaml"))
