"""Which settings hold for which weight: global, by type of operation, by name, as a recipe writes them.

From coremltools (``OptimizationConfig``): what is said of a name wins over what is said of a type of operation, and that over
what is said of everything. Here names may be patterns, and PyTorch's parameter names count as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from sdbuild.errors import UserError

Settings = Mapping[str, Any]

_WILD = "*?[]"
_SHOWN = 8


@dataclass(frozen=True)
class Subject:
    """A weight as far as it can be selected: ``operations`` are the (type, name) of all that take it."""

    name: str
    parameter: str | None
    operations: tuple[tuple[str, str], ...]


class Selection:
    """The settings of a step, for the weights of one package."""

    def __init__(self, kind: str, step: Settings, subjects: Sequence[Subject]) -> None:
        """Take a step's name and options, of which ``op_types``, ``op_names`` and ``parameters`` override the others.

        Raises:
            UserError: a key that matches no weight; the message has all such keys and what is like them.
        """
        levels = ("op_types", "op_names", "parameters")
        self._kind = kind
        self._own = {key: value for key, value in step.items() if key not in levels}
        self._types, self._names, self._parameters = (step.get(level) or {} for level in levels)
        operations = [operation for subject in subjects for operation in subject.operations]
        names = [*(subject.name for subject in subjects), *(name for _, name in operations)]
        parameters = [subject.parameter for subject in subjects if subject.parameter is not None]
        problems = [
            *_unmatched(f"{kind}.op_types", self._types, [each for each, _ in operations]),
            *_unmatched(f"{kind}.op_names", self._names, names),
            *_unmatched(f"{kind}.parameters", self._parameters, parameters),
        ]
        if problems:
            raise UserError("compress: " + "\n".join(problems))

    def settings(self, subject: Subject) -> Settings | None:
        """What holds for a weight: the step's own keys and, over them, an override's; None: leave it alone.

        Tables that token ids are looked up in are left alone unless ``embeddings`` is set or an override names them.

        Raises:
            UserError: overrides that contradict each other, of which none is more particular.
        """
        override = self._of_names(subject)
        if override is not _NOTHING:
            return self._over(override)
        found = [self._of_type(kind) for kind, _ in subject.operations]
        if any(each != found[0] for each in found):
            kinds = ", ".join(sorted({kind for kind, _ in subject.operations}))
            raise UserError(
                f"compress: {subject.name} is used by {kinds}, for which {self._kind} says different things; say under "
                "op_names or parameters what holds for it"
            )
        return found[0] if found else None

    def _of_names(self, subject: Subject) -> Settings | None:
        """The override for a name; ``_NOTHING`` where there is none."""
        for overrides, names in (
            (self._parameters, [subject.parameter] if subject.parameter is not None else []),
            (self._names, [subject.name]),
            (self._names, [name for _, name in subject.operations]),
        ):
            matching = [key for key in overrides if any(fnmatchcase(name, key) for name in names)]
            if matching:
                best = max(_particular(key) for key in matching)
                first, *others = [key for key in matching if _particular(key) == best]
                for other in others:
                    if overrides[other] != overrides[first]:
                        raise UserError(
                            f"compress: '{first}' and '{other}' both match {names[0]} and say different things; "
                            "write the one that should hold more precisely"
                        )
                return overrides[first]  # type: ignore[no-any-return]
        return _NOTHING

    def _of_type(self, kind: str) -> Settings | None:
        if kind in self._types:
            return self._over(self._types[kind])
        return None if kind == "gather" and not self._own.get("embeddings") else self._own

    def _over(self, override: Settings | None) -> Settings | None:
        return None if override is None else {**self._own, **override}


_NOTHING: Settings = {"": None}
"""Stands for no override, which None can't: None is one."""


def _particular(pattern: str) -> tuple[bool, int]:
    """Of two patterns that match, the one with more letters of its own is more particular; most of all a name itself."""
    return not any(letter in _WILD for letter in pattern), sum(letter not in _WILD for letter in pattern)


def _unmatched(level: str, overrides: Mapping[str, Any], candidates: Iterable[str]) -> list[str]:
    known = sorted(set(candidates))
    missing = [key for key in overrides if not any(fnmatchcase(name, key) for name in known)]
    problems = []
    for key in missing:
        near = _near(key, known) or known[:_SHOWN]
        more = f", … ({len(known)} in all)" if len(known) > len(near) else ""
        about = f"there are {', '.join(near)}{more}" if known else "the package does not say any"
        problems.append(f"'{key}' under {level} matches no weight of this model; {about}")
    return problems


def _near(key: str, known: Sequence[str]) -> list[str]:
    """What somebody who wrote ``key`` may have meant: a name or, if that is a pattern, everything under a prefix of names."""
    if any(letter in _WILD for letter in key):
        heads = {name[: place + 1] + "*" for name in known for place, letter in enumerate(name) if letter == "."}
        known = [*sorted(heads), *known]
    small = {name.lower(): name for name in reversed(known)}
    return [small[name] for name in get_close_matches(key.lower(), small, _SHOWN, cutoff=0.6)]
