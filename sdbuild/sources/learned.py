"""Words for learned embeddings (textual inversion): what a CLIP tokenizer's two files need for a word to become its numbers.

The tokenizer of apps joins letters by merges, and knows nothing else: a new word must be made by new merges. They stand behind
all others, so a text is first taken apart as it always was, and only then looked at again. Each of them joins two pieces that
together spell a part of the token: a word in which no part of it is written has no place where one applies, and stays as it
was. A merge that makes less than a whole part would apply in other words, and make one piece of two where there is no number
for it. So a token of ``n`` vectors must be a word that the tokenizer takes for ``2 n`` pieces; any other is refused.

Tokens are of the letters a to z: CLIP's own tokenizer, which splits texts at all else before it joins, takes these for one
word, and spells them in bytes as they are. Both tokenizers find the token beside digits and punctuation.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from sdbuild.bytepairs import WORD_END, Pair, joined
from sdbuild.errors import SourceError

END = "<|endoftext|>"

_LETTERS = re.compile(r"[a-z]+")
_RARE, _OTHERS = "xzqkvjw", "abcdefghilmnoprstuy"
_LONGEST_STEM = 5  # letters, of what suggestions write once for each further vector
_SHORTEST_PARTS = (4, 3, 2)  # letters; the more there are, the less does anybody write them who means something else


@dataclass(frozen=True)
class Learned:
    """A token, and how many vectors stand for it."""

    token: str
    vectors: int


@dataclass(frozen=True)
class _Made:
    """A token taken apart: twice as many pieces as it has vectors, for each form in which it occurs."""

    merges: tuple[Pair, ...]
    numbers: dict[str, int]
    """What the merges make → which of the vectors."""


class Words:
    """The words of a tokenizer, and tokens that are added to it one by one."""

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[str]) -> None:
        """``merges``: lines of merges.txt, without its first one."""
        self._vocabulary = dict(vocabulary)
        self._lines = list(merges)
        # To the app, lines that start with # are comments. To CLIP they are merges, but none of letters.
        pairs = [line.split(" ") for line in merges if not line.startswith("#")]
        self._ranks: dict[Pair, int] = {(left, right): rank for rank, (left, right) in enumerate(pairs)}
        self._added: dict[Pair, int] = {}
        self._tokens: dict[str, _Made] = {}
        self._text = "\n".join(vocabulary)

    @property
    def vocabulary(self) -> dict[str, int]:
        """With the tokens that were added."""
        return self._vocabulary

    @property
    def merges(self) -> list[str]:
        """Likewise."""
        return [*self._lines, *(f"{left} {right}" for left, right in self._added)]

    def add(self, learned: Learned, first: int) -> list[int]:
        """Have ``first`` and the numbers after it stand for a token; returns them.

        Raises:
            SourceError: the tokenizer could not make exactly these of the token, and of all else what it did before.
        """
        if problem := self._problem(learned):
            other = self.suggestion(learned)
            advice = f"write {other}" if other else "write another one"
            raise SourceError(f"the token {learned.token}: {problem}; {advice}")
        made = self._tokens[learned.token] = self._made(learned)
        self._added |= self._ranked(made)
        self._vocabulary |= {word: first + number for word, number in made.numbers.items()}
        return list(range(first, first + learned.vectors))

    def suggestion(self, learned: Learned) -> str | None:
        """A token like one that can't be: its letters, fewer of them, or with others at the end."""
        letters = "".join(_LETTERS.findall(learned.token.lower())) or "style"
        tried = (self._suggestion(letters, learned.vectors, shortest) for shortest in _SHORTEST_PARTS)
        return next((each for each in tried if each is not None), None)

    def _suggestion(self, letters: str, vectors: int, shortest: int) -> str | None:
        found = ""
        for number in range(1, vectors + 1):
            longer = (found + part for part in _alike(letters, letters if number == 1 else letters[:_LONGEST_STEM]))
            found = next((each for each in longer if self._would_do(Learned(each, number), shortest)), "")
            if not found:
                return None
        return found

    def _would_do(self, learned: Learned, shortest: int) -> bool:
        return not self._problem(learned) and all(len(_bare(each)) >= shortest for each in self._made(learned).numbers)

    def _problem(self, learned: Learned) -> str | None:
        """Why a token can't be."""
        token, wanted = learned.token, 2 * learned.vectors
        if not _LETTERS.fullmatch(token):
            return "it is not of small letters, a to z, alone, and CLIP's own tokenizer splits words at anything else"
        if token in self._tokens:
            return "it is named twice"
        for pieces in self._forms(token):
            if len(pieces) == 1:
                return "the tokenizer has it as a word or as part of one already, and prompts with that would change"
            if len(pieces) != wanted:
                vectors = f"{learned.vectors} vectors" if learned.vectors > 1 else "one vector"
                return (
                    f"the tokenizer takes it for {len(pieces)} pieces ({', '.join(map(_bare, pieces))}), and a token with "
                    f"{vectors} must be {wanted}: with more or fewer, other words would change"
                )
            parts = [left + right for left, right in zip(pieces[::2], pieces[1::2], strict=True)]
            if twice := next((part for part in parts if parts.count(part) > 1), None):
                return f"{_bare(twice)} stands in it twice, and each vector needs a part of its own"
        made = self._made(learned)
        for word in made.numbers:
            if (part := _bare(word)) in self._text:
                other = max((each for each in self._vocabulary if part in each), key=len)
                return f"{part} occurs in {_bare(other)}, a word that the tokenizer has and that could change"
        for other, earlier in self._tokens.items():
            if any(_bare(a) in _bare(b) or _bare(b) in _bare(a) for a in made.numbers for b in earlier.numbers):
                return f"it has a part in common with the token {other}"
        if beside := self._joined_to_others(token):
            return f"the tokenizer joins it with {beside} where that stands beside it"
        return self._read_wrongly(learned, made)

    def _read_wrongly(self, learned: Learned, made: _Made) -> str | None:
        """What comes of all tokens with the new one's merges, which nothing but trying says for sure."""
        ranks = self._ranks | self._added | self._ranked(made)
        for token, each in {**self._tokens, learned.token: made}.items():
            for symbols in _spelled(token):
                if [each.numbers.get(piece) for piece in joined(symbols, ranks)] != sorted(set(each.numbers.values())):
                    return (
                        "the merges of another token apply inside it"
                        if token == learned.token
                        else f"its merges apply inside the token {token}"
                    )
        return None

    def _made(self, learned: Learned) -> _Made:
        merges: dict[Pair, None] = {}
        numbers: dict[str, int] = {}
        for pieces in self._forms(learned.token):
            for number, (left, right) in enumerate(zip(pieces[::2], pieces[1::2], strict=True)):
                merges[left, right] = None
                numbers[left + right] = number
        return _Made(tuple(merges), numbers)

    def _ranked(self, made: _Made) -> dict[Pair, int]:
        first = len(self._ranks) + len(self._added)
        return {pair: first + rank for rank, pair in enumerate(made.merges)}

    def _forms(self, token: str) -> Iterator[list[str]]:
        """The pieces that a token is taken for, at the end of a word and before its end."""
        return (joined(symbols, self._ranks) for symbols in _spelled(token))

    def _joined_to_others(self, token: str) -> str | None:
        """What is no letter and is joined with the start or the end of the token by a merge."""
        starts = {token[:length] for length in range(1, len(token) + 1)} | {token + WORD_END}
        ends = {token[place:] for place in range(len(token))}
        for left, right in self._mixed:
            if right in starts or left in ends:
                return left if right in starts else _bare(right)
        return None

    @cached_property
    def _mixed(self) -> list[Pair]:
        """Merges of a letter and something else."""
        return [(left, right) for left, right in self._ranks if left[-1].isalpha() != right[0].isalpha()]


def _spelled(token: str) -> tuple[list[str], list[str]]:
    """The symbols of a token at the end of a word, and of one that something follows."""
    return [*token[:-1], token[-1] + WORD_END], list(token)


def _bare(word: str) -> str:
    return word.removesuffix(WORD_END)


def _alike(whole: str, stem: str) -> Iterator[str]:
    """Parts of tokens like a text: it alone, or what it starts with and other letters; the longest and rarest first."""
    yield whole
    pairs = tuple(a + b for a, b in pairwise(_RARE + _RARE[::-1]) if a != b)
    for endings in (tuple(_RARE), pairs, tuple(_OTHERS)):
        for length in range(len(stem), 0, -1):
            for ending in endings:
                yield stem[:length] + ending
    yield from pairs
