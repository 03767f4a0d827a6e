"""CLIP's tokenizer, which all families share and no single file brings: ``vocab.json`` and ``merges.txt`` as published.

``vocabulary/clip-merges.txt.bz2`` has the merges that CLIP uses of ``bpe_simple_vocab_16e6.txt.gz`` (github.com/openai/CLIP,
under the MIT license: see LICENSE beside it): lines 2 to 48,895. The vocabulary follows from them (``clip/simple_tokenizer.py``
there): 256 bytes as characters, the same at a word's end, one word for each merge, and the two that frame a prompt.
"""

from __future__ import annotations

import bz2
import functools
import json
from pathlib import Path

_MERGES = Path(__file__).with_name("vocabulary") / "clip-merges.txt.bz2"
_END = "</w>"
_FRAME = ("<|startoftext|>", "<|endoftext|>")


@functools.cache
def merges_text() -> str:
    """``merges.txt``."""
    return "#version: 0.2\n" + bz2.decompress(_MERGES.read_bytes()).decode()


@functools.cache
def vocabulary_json() -> str:
    """``vocab.json``: 49,408 words."""
    words = [line.replace(" ", "") for line in merges_text().split("\n")[1:] if line]
    alphabet = _alphabet()
    whole = [*alphabet, *(character + _END for character in alphabet), *words, *_FRAME]
    return json.dumps({word: number for number, word in enumerate(whole)}, ensure_ascii=False)


def _alphabet() -> list[str]:
    """A printable character for each byte: itself where it is one, and those from 256 on for the others, which come last."""
    themselves = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [*map(chr, themselves), *(chr(256 + number) for number in range(256 - len(themselves)))]
