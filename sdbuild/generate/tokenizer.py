"""From a prompt to numbers, as Apple's Swift package does it, so that an image here is the image in the app.

After `swift/StableDiffusion/tokenizer` and `pipeline/TextEncoder*.swift` of apple/ml-stable-diffusion @e12202c. It is not
quite CLIP's own tokenizer: see docs/generate.md for where the two differ.
"""

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import regex

from sdbuild.bytepairs import WORD_END, joined
from sdbuild.errors import UserError
from sdbuild.standins import ENOUGH, stand_in

START, END = "<|startoftext|>", "<|endoftext|>"

_BREAKS = "\t\n\x0b\x0c\r\x85\u2028\u2029"


@dataclass(frozen=True)
class Tokens:
    """A prompt in numbers.

    Attributes:
        ids: as many as the text encoder takes.
        unknown: pieces of the prompt that the vocabulary lacks; the app reads each as the end of the prompt.
        dropped: the end of the prompt, where it was too long.
    """

    ids: tuple[int, ...]
    unknown: tuple[str, ...]
    dropped: str


class Tokenizer:
    """Byte-pair encoding over Swift's characters, which are grapheme clusters and equal when canonically equivalent."""

    def __init__(self, vocabulary: dict[str, int], merges: dict[tuple[str, str], int]) -> None:
        """Take token → number, and pair of tokens → rank; lower ranks are merged first."""
        self._vocabulary = {_canonical(token): number for token, number in vocabulary.items()}
        self._merges = {(_canonical(a), _canonical(b)): rank for (a, b), rank in merges.items()}

    @classmethod
    def read(cls, folder: Path) -> "Tokenizer":
        """Read ``vocab.json`` and ``merges.txt`` of a Resources folder.

        Raises:
            UserError: one is missing or not as the app expects it, which would stop there.
        """
        return cls(_read_vocabulary(folder / "vocab.json"), _read_merges(folder / "merges.txt"))

    def __contains__(self, token: str) -> bool:
        """Whether the vocabulary has a token."""
        return _canonical(token) in self._vocabulary

    def __call__(self, text: str, length: int, padding: str = END) -> Tokens:
        """Tokenize a prompt for a text encoder that takes ``length`` numbers.

        What is too long is cut off with the end mark, where CLIP's own tokenizer would keep that.
        """
        tokens = [START, *self._encode(text), END]
        dropped = "".join(tokens[length:]).removesuffix(END).replace(WORD_END, " ").strip()
        tokens = (tokens + [padding] * (length - len(tokens)))[:length]
        unknown = dict.fromkeys(token.removesuffix(WORD_END) for token in tokens if token not in self._vocabulary)
        end = self._vocabulary.get(END, 0)
        return Tokens(tuple(self._vocabulary.get(token, end) for token in tokens), tuple(unknown), dropped)

    def _encode(self, text: str) -> list[str]:
        # Character by character: Swift knows no final sigma.
        lowered = "".join(character.lower() for character in _trim(text))
        tokens, word = [], list[str]()
        for cluster in [*regex.findall(r"\X", lowered), " "]:
            if cluster == " ":
                tokens += self._encode_word(word)
                word = []
            else:
                word.append(_canonical(cluster))
        return tokens

    def _encode_word(self, word: list[str]) -> list[str]:
        symbols = [*word[:-1], word[-1] + WORD_END] if word else []
        return joined(symbols, self._merges, _canonical)


def _canonical(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _trim(text: str) -> str:
    """Without Foundation's ``whitespacesAndNewlines`` at both ends."""
    return text.strip(_BREAKS + "".join(c for c in set(text) if unicodedata.category(c) == "Zs"))


def _read_vocabulary(path: Path) -> dict[str, int]:
    try:
        vocabulary = json.loads(_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); build the bundle again") from None
    if not isinstance(vocabulary, dict) or not all(type(number) is int for number in vocabulary.values()):
        raise UserError(f"{path}: not a mapping of tokens to whole numbers; build the bundle again")
    return vocabulary


def _read_merges(path: Path) -> dict[tuple[str, str], int]:
    merges = {}
    for rank, line in enumerate(_bytes(path).split(b"\n")[:-1]):  # the app loses a last line without a line end
        if line and not line.startswith(b"#"):
            pair = [part.decode(errors="replace") for part in line.split(b" ") if part]
            if len(pair) != 2:
                raise UserError(f"{path}, line {rank + 1}: not two fields; build the bundle again")
            merges[pair[0], pair[1]] = rank
    return merges


def _bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); build the bundle again") from None
    if wrong := stand_in(content[:ENOUGH]):
        raise UserError(f"{path}: it {wrong}")
    return content
