"""What a stage is to do, as one typed declaration: the plan fills it in, and the stage's ``run`` is given it.

`jobs/` has a file for each stage. A declaration is a frozen dataclass of plain data (str, int, float, bool, None, enums,
tuples, dicts with str keys, dataclasses of the same) and of `Artifact`s, anywhere in it. All of it is part of the key of what
the stage makes, but a field that has its default is left out: so a new field with a default changes no key. A default that
comes to mean something else needs a new version of the stage.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from sdbuild.errors import UserError

T = TypeVar("T")


class Artifact:
    """What a job reads: all that another one made, or one file or folder of it.

    In a plan it is a node, or a part of one; in the stage's process it has a path.
    """

    path: Path
    """To be read only."""


class Found(Artifact):
    """One that was made and lies there."""

    def __init__(self, path: Path) -> None:
        """At ``path``."""
        self.path = path

    def __eq__(self, other: object) -> bool:
        """By path."""
        return isinstance(other, Found) and self.path == other.path

    def __hash__(self) -> int:
        """By path."""
        return hash(self.path)


@dataclass(frozen=True)
class Stage:
    """A kind of work."""

    name: str
    version: int
    """Raised whenever the stage's code comes to write something else for the same job."""
    title: str
    """What it does, for people."""
    tools: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    """Distributions whose versions may show in what it writes; or a function of the job that gives them."""
    code: str
    """The module with its ``run``."""
    fetches: bool
    """It may ask the hub; the others have all they need in the store."""
    links: bool
    """What it writes has hard links to what it reads."""
    uses: Callable[[Any], Iterable[str]]
    """Of a job, the modules that do a part of the work and may be an extension's, such as ``modeling.components.unet``; a
    package for all that extensions have in it. Their code is part of the key; for that of sdbuild's own there is
    ``version``."""

    def tools_for(self, job: object) -> tuple[str, ...]:
        """Those that show in what a job makes."""
        return self.tools(job) if callable(self.tools) else self.tools

    def code_for(self, job: object) -> tuple[str, ...]:
        """All modules of which `uses` has a part, and its own two."""
        return f"jobs.{self.name}", f"stages.{self.name}", *self.uses(job)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def stage(
    name: str,
    *,
    version: int,
    title: str,
    tools: tuple[str, ...] | Callable[[Any], tuple[str, ...]] = (),
    code: str = "",
    fetches: bool = False,
    links: bool = False,
    uses: Callable[[Any], Iterable[str]] = lambda job: (),
) -> Callable[[type[T]], type[T]]:
    """Declare a stage: the class becomes a frozen dataclass, whose instances are its jobs.

    ``code`` is the module with its ``run``; empty for ``sdbuild.stages.<name>``. For the rest see `Stage`.
    """

    def declare(job: type[T]) -> type[T]:
        made = dataclass(frozen=True, kw_only=True)(job)
        made.__stage__ = Stage(name, version, title, tools, code or f"sdbuild.stages.{name}", fetches, links, uses)  # type: ignore[attr-defined]
        return made

    return declare


def stage_of(job: object) -> Stage:
    """The stage that a job, or a class of jobs, is of."""
    found: Stage = job.__stage__  # type: ignore[attr-defined]
    return found


def encode(job: object, artifact: Callable[[str, Artifact], Any]) -> dict[str, Any]:
    """A job as JSON.

    ``artifact`` gives what stands for an artifact, told its place, such as ``models.Unet`` or ``components[0].config``; `OMIT`
    for nothing. What holds nothing but what is left out is left out, too.
    """
    found = _encode(job, "", artifact)
    return {} if found is OMIT else found


OMIT: Any = object()


_PLAIN = frozenset({type(None), bool, int, float, str})


def _encode(value: Any, place: str, artifact: Callable[[str, Artifact], Any]) -> Any:
    kind: Any = type(value)  # which mypy takes for unhashable
    if kind in _PLAIN:
        return value
    if isinstance(value, str | int | float):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Artifact):
        return artifact(place, value)
    if isinstance(value, tuple | list):
        items = [_encode(each, f"{place}[{index}]", artifact) for index, each in enumerate(value)]
        if items and all(item is OMIT for item in items):
            return OMIT
        return [None if item is OMIT else item for item in items]
    if isinstance(value, Mapping):
        pairs = sorted(value.items())  # as the key has them: their order must not show in what is made
    elif is_dataclass(value):
        pairs = [(name, given) for name, default in _fields(kind) if (given := getattr(value, name)) != default]
    else:
        raise TypeError(f"{place}: a job can't hold {value!r}")
    found = {}
    for name, each in pairs:
        item = _encode(each, f"{place}.{name}" if place else name, artifact)
        if item is not OMIT:
            found[name] = item
    return found if found or not pairs else OMIT


@functools.cache
def _fields(kind: Hashable) -> list[tuple[str, Any]]:
    """The names of a dataclass's fields, each with its default, or something that is equal to nothing."""

    def default(field: Any) -> Any:
        if field.default_factory is not MISSING:
            return field.default_factory()
        return object() if field.default is MISSING else field.default

    return [(field.name, default(field)) for field in fields(kind)]  # type: ignore[arg-type]


def decode(kind: type[T], data: Any) -> T:
    """The job of a class that was encoded with its artifacts' paths.

    Raises:
        UserError: the data is no such job: another version of sdbuild wrote it.
    """
    try:
        job: T = _decode(kind, data, stage_of(kind).name)
        if encode(job, lambda place, artifact: str(artifact.path)) != data:
            raise _MismatchError(f"{stage_of(kind).name}: says more or less")
    except _MismatchError as error:
        raise UserError(
            f"the build and the process of its stage are of different versions of sdbuild ({error}): was it updated "
            "meanwhile? Run the same command again"
        ) from None
    return job


class _MismatchError(Exception):
    """Data that is not what its declaration says."""


def _decode(kind: Any, value: Any, place: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):  # of some kinds, or None
        given = [each for each in inner if each is not type(None)]
        if value is None:
            return _expect(type(None) in inner, value, place)
        if len(given) > 1:  # plain values of several types
            return _expect(type(value) in given, value, place)
        return _decode(given[0], value, place)
    if origin is Literal:
        return _expect(value in inner, value, place)
    if origin is tuple:
        _expect(isinstance(value, list), value, place)
        return tuple(_decode(inner[0], each, f"{place}[{index}]") for index, each in enumerate(value))
    if origin in (dict, Mapping):
        _expect(isinstance(value, dict), value, place)
        return {name: _decode(inner[1], each, f"{place}.{name}") for name, each in value.items()}
    if is_dataclass(kind):
        _expect(isinstance(value, dict), value, place)
        hints = get_type_hints(kind)
        required = {field.name for field in fields(kind) if field.default is field.default_factory is MISSING}
        if wrong := sorted((required - value.keys()) | (value.keys() - hints.keys())):
            raise _MismatchError(f"{place}.{wrong[0]}")
        make: Any = kind
        return make(**{name: _decode(hints[name], each, f"{place}.{name}") for name, each in value.items()})
    if issubclass(kind, Artifact):
        return Found(Path(_expect(isinstance(value, str), value, place)))
    if issubclass(kind, Enum):
        return kind(_expect(value in [each.value for each in kind], value, place))
    return _expect(type(value) is kind or (kind is float and type(value) is int), value, place)


def _expect(right: bool, value: T, place: str) -> T:
    if not right:
        raise _MismatchError(place)
    return value


def parts(job: object, kind: type[T]) -> Iterator[T]:
    """All of a kind that a job holds, however deep."""
    if isinstance(job, kind):
        yield job
    elif isinstance(job, tuple | list):
        for each in job:
            yield from parts(each, kind)
    elif isinstance(job, Mapping):
        for each in job.values():
            yield from parts(each, kind)
    elif is_dataclass(job) and not isinstance(job, Artifact):
        kind_of_job: Any = type(job)
        for name, _ in _fields(kind_of_job):
            yield from parts(getattr(job, name), kind)
