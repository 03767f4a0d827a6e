"""The ways to name the layers that an adapter is of: each is a file of this folder, found by listing it.

Such a file has a function ``layers(place, names)``: for the layers of a component, by the names that its library has for them
today, each name that it may have in a file, with the layer. ``place`` is "unet", "text_encoder", or "text_encoder_2" for a
second one. Layers of a text encoder come without the level "text_model", which libraries have and leave out. ``PREFIXES``:
how all names begin that are of a place, whatever the layer.
"""

from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import Protocol, cast

from sdbuild import extensions

__path__ = extensions.folders(__name__)


class Naming(Protocol):
    """A file of this folder."""

    PREFIXES: Mapping[str, tuple[str, ...]]

    def layers(self, place: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
        """See the package."""


def namings() -> list[Naming]:
    """All of them."""
    return [cast(Naming, import_module(f"{__name__}.{name}")) for name in extensions.names(__path__)]
