"""Prompts of every kind: words of this project and of packages that it runs on, and whatever else people type."""

import random
import re
import string
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("numpy", "torch", "diffusers", "transformers", "pillow", "pydantic", "hypothesis", "pytest")
_FOREIGN = "éßøłıİçñ日本花水彩猫Ωμжщא中한🐱🎨👩🏽‍🎨🇫🇷①²½…“”‘’—–·€£™\u0301\u200b\u2060\ufe0f\u3000"


@cache
def text() -> str:
    """What is written in this project's documents and in the descriptions of packages."""
    own = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join([*own, *(distribution(name).read_text("METADATA") or "" for name in PACKAGES)])


def prompts(count: int) -> list[str]:
    """So many, all different."""
    chance = random.Random(20261128)
    words = sorted(set(re.findall(r"[^\W\d_]{2,}", text())))
    made: dict[str, None] = {}
    while len(made) < count:
        pieces = [_piece(chance, words) for _ in range(chance.randint(1, 14))]
        made["".join(piece + chance.choice([" ", " ", " ", ", ", "  ", ""]) for piece in pieces)] = None
    return list(made)


def _piece(chance: random.Random, words: list[str]) -> str:
    word = chance.choice(words)
    match chance.randrange(12):
        case 0:
            return str(chance.randrange(10 ** chance.randint(1, 6)))
        case 1:
            return "".join(chance.choices(string.punctuation, k=chance.randint(1, 4)))
        case 2:
            return "".join(chance.choices(_FOREIGN, k=chance.randint(1, 3)))
        case 3:
            return f"({word}:{chance.randint(1, 19) / 10})"
        case 4:
            return "".join(chance.choices(string.ascii_letters, k=chance.randint(1, 9)))
        case 5:
            return f"{word}{chance.choice(['-', '_', chr(39), '/', '.', '1', 'é'])}{chance.choice(words)}"
        case 6:
            return chance.choice([word.upper(), word.title(), f"<{word}>", f"{word}'s"])
        case _:
            return word
