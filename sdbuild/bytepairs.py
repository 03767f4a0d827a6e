"""Byte-pair encoding: how symbols become tokens, by merges."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

WORD_END = "</w>"
"""At the end of the last symbol of a word."""

Pair = tuple[str, str]


def joined(
    symbols: Sequence[str], ranks: Mapping[Pair, int], form: Callable[[str], str] = lambda text: text
) -> list[str]:
    """The symbols with pairs made one as long as ``ranks`` knows any; lower ranks first, and all of one pair at once.

    ``form`` is the one of several spellings that ranks are written in.
    """
    tokens = list(symbols)
    while ranked := [pair for pair in pairwise(tokens) if pair in ranks]:
        tokens = _merged(tokens, min(ranked, key=ranks.__getitem__), form)
    return tokens


def _merged(tokens: list[str], pair: Pair, form: Callable[[str], str]) -> list[str]:
    """The tokens with each occurrence of a pair, from the left, made one."""
    result, index = [], 0
    while index < len(tokens):
        if tuple(tokens[index : index + 2]) == pair:
            result.append(form(pair[0] + pair[1]))
            index += 2
        else:
            result.append(tokens[index])
            index += 1
    return result
