"""What a layout says: which tensors of a file are a component's, and by which names a model takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
"""Of tensors, by name."""


@dataclass(frozen=True)
class Taken:
    """A tensor of a file as a model takes it: all of it, or one of equal parts of its rows, or with rows for columns."""

    key: str
    """Its name in the file."""
    part: int = 0
    parts: int = 1
    transposed: bool = False

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Of what is taken."""
        if self.transposed:
            return stored[::-1]
        return (stored[0] // self.parts, *stored[1:]) if self.parts > 1 else stored

    def record(self) -> dict[str, Any]:
        """As JSON; ``Taken(**record)`` is the way back."""
        part = {"part": self.part, "parts": self.parts} if self.parts > 1 else {}
        return {"key": self.key, **part, **({"transposed": True} if self.transposed else {})}


Names = dict[str, Taken]
"""By the names that diffusers and transformers have for a model's tensors."""


@dataclass(frozen=True)
class Component:
    """A network that lies in a file."""

    folder: str
    """Where a diffusers folder would have it."""
    names: Names
    config: dict[str, Any]
    """What its ``config.json`` would say, as far as shapes can tell; see `sdbuild.sources.inferred`."""
    prefix: str
    """That its keys have in the file."""
    spare: frozenset[str] = frozenset()
    """Keys behind the prefix that are known, and not for the model."""


@dataclass(frozen=True)
class Layout:
    """The names that one kind of network has in single files."""

    prefixes: tuple[str, ...]
    """Before its keys, in the files of several tools; "" where a file holds it alone."""
    marks: tuple[str, ...]
    """Keys that are there, behind the prefix, if the network is, and in no other layout."""
    names: Callable[[Shapes], Names]
    """Of the keys behind the prefix, those that are known."""
    config: Callable[[Shapes], dict[str, Any]]
    """Of tensors by the models' names."""
    folder: Callable[[dict[str, Any]], str]
    """Of its configuration."""
    spare: Callable[[Shapes], Iterable[str]] = lambda tensors: ()
    """Of the keys behind the prefix, those that are known, and not for the model."""

    def read(self, prefix: str, tensors: Shapes) -> Component:
        """The component whose keys in the file, behind ``prefix``, are those of ``tensors``."""
        names = self.names(tensors)
        shapes = {name: taken.shape(tensors[taken.key]) for name, taken in names.items()}
        config = self.config(shapes)
        placed = {
            name: Taken(f"{prefix}{taken.key}", taken.part, taken.parts, taken.transposed)
            for name, taken in names.items()
        }
        return Component(self.folder(config), placed, config, prefix, frozenset(self.spare(tensors)))


Rules = Sequence[tuple[str, str]]
"""Patterns of keys, and what to write for them: the first that fits has it."""


def by_rules(keys: Iterator[str] | Shapes, rules: Rules) -> Iterator[tuple[str, str]]:
    """Key and name of what one of the rules knows from beginning to end."""
    compiled = [(re.compile(pattern), name) for pattern, name in rules]
    for key in keys:
        for pattern, name in compiled:
            if match := pattern.fullmatch(key):
                yield key, match.expand(name)
                break
