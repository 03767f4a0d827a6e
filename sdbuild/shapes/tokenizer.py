"""Stage `tokenizer`: a small byte-level BPE vocabulary in CLIP's file format.

Every word of a caption is one token; any other text falls apart into characters, so that
nothing is untokenisable.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from sdbuild.shapes.scenes import COLOURS, SHAPES, SIZES, TEMPLATES

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_LENGTH = 77
_WORD_END = "</w>"
# Words beyond the captions' own, so that ordinary prompts stay short too.
_EXTRA_WORDS = [
    "the",
    "and",
    "of",
    "in",
    "at",
    "is",
    "it",
    "with",
    "to",
    "for",
    "by",
    "from",
    "picture",
    "photo",
    "image",
    "drawing",
    "painting",
    "big",
    "little",
    "tiny",
    "huge",
    "shape",
    "object",
    "colour",
    "color",
    "background",
    "plus",
    "round",
    "pink",
    "grey",
    "gray",
    "brown",
]


def byte_characters() -> list[str]:
    """The 256 printable characters that stand for the 256 bytes, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]


def caption_words() -> list[str]:
    """Every word a caption can contain, and the extra ones; sorted."""
    fixed = {w for t in TEMPLATES for w in t.split() if "{" not in w}
    return sorted({*fixed, *SIZES, *COLOURS, *SHAPES, *_EXTRA_WORDS, "a", "an"})


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first, until every word is one symbol."""
    split = [[*word[:-1], word[-1] + _WORD_END] for word in words]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(p for s in split for p in pairwise(s))
        if not pairs:
            return merges
        # Ties break by the alphabet, so the vocabulary is the same on every machine.
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        split = [_apply(symbols, best) for symbols in split]


def _apply(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    i = 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            result.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            result.append(symbols[i])
            i += 1
    return result


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token to id (bytes, bytes at a word's end, merges, the two marks), and the merges."""
    merges = learn_merges(caption_words())
    characters = byte_characters()
    tokens = [*characters, *(c + _WORD_END for c in characters), *(a + b for a, b in merges)]
    # Two ways to the same symbol are one token.
    tokens = [*dict.fromkeys(tokens), START, END]
    return {token: i for i, token in enumerate(tokens)}, merges


def write_tokenizer(folder: Path) -> None:
    """Writes the tokenizer folder that diffusers, transformers and Apple's package read."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = vocabulary()
    texts = {
        "vocab.json": json.dumps(vocab, ensure_ascii=False),
        "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
        "special_tokens_map.json": json.dumps(
            {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}, indent=2
        )
        + "\n",
        "tokenizer_config.json": json.dumps(
            {
                "add_prefix_space": False,
                "bos_token": START,
                "do_lower_case": True,
                "eos_token": END,
                "errors": "replace",
                "model_max_length": MAX_LENGTH,
                "pad_token": END,
                "tokenizer_class": "CLIPTokenizer",
                "unk_token": END,
            },
            indent=2,
        )
        + "\n",
    }
    for name, text in texts.items():
        # newline="": Apple's parser splits at LF, on every platform.
        (folder / name).write_text(text, encoding="utf-8", newline="")


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of a folder, read from its own files only."""
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    return tokenizer
