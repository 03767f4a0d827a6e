"""Shapes that must agree all through a folder: words in them stand for numbers, found in one model and held to in others."""

import math
from collections.abc import Mapping

from sdbuild.bundle.rules import ANY, Shape


class Sizes:
    """What each word stands for so far, and where that was seen."""

    def __init__(self, known: Mapping[str, tuple[int, str]], choices: Mapping[str, tuple[int, ...]]) -> None:
        """Start from ``known`` numbers with their origin in words; ``choices`` limits those still to be found."""
        self._known = dict(known)
        self._choices = choices

    def disagreement(self, actual: tuple[int, ...], expected: Shape, where: str) -> str | None:
        """What ``actual`` should have been, with reasons; None where it agrees, and then its new numbers are kept.

        ``where`` says later what fixed them ("Unet's sample").
        """
        if len(actual) == len(expected) and all(map(self._fits, actual, expected)):
            for number, dimension in zip(actual, expected, strict=True):
                if isinstance(dimension, str) and dimension.isidentifier():
                    self._known.setdefault(dimension, (number, where))
            return None
        culprits = expected
        if len(actual) == len(expected):
            culprits = tuple(
                term for number, term in zip(actual, expected, strict=True) if not self._fits(number, term)
            )
        reasons = {
            f"{dimension} = {self._known[dimension][0]} {self._known[dimension][1]}": None
            for term in culprits
            for dimension in _words(term)
            if dimension in self._known
        }
        text = f"[{', '.join(map(self._text, expected))}]"
        return f"{text} ({', '.join(reasons)})" if reasons else text

    def _fits(self, number: int, dimension: int | str) -> bool:
        if isinstance(dimension, str) and dimension in self._choices and dimension not in self._known:
            return number in self._choices[dimension]
        wanted = self._value(dimension)
        return wanted is None or wanted == number

    def _value(self, dimension: int | str) -> int | None:
        """The number that a dimension must be; None as long as a word in it is not known."""
        if isinstance(dimension, int):
            return dimension
        if not _words(dimension) or any(word not in self._known for word in _words(dimension)):
            return None
        return sum(math.prod(self._known[word][0] for word in term.split("*")) for term in dimension.split("+"))

    def _text(self, dimension: int | str) -> str:
        value = self._value(dimension)
        if value is not None:
            return str(value)
        return " or ".join(map(str, self._choices.get(str(dimension), (dimension,))))


def _words(dimension: int | str) -> list[str]:
    if isinstance(dimension, int) or dimension == ANY:
        return []
    return dimension.replace("+", "*").split("*")
