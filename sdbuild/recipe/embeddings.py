"""What a recipe says of learned embeddings: which files, and what is to be written for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from sdbuild.recipe.fields import Sourced, wrong
from sdbuild.recipe.source import Source
from sdbuild.recipe.sources import find_source

KINDS = (".safetensors", ".pt", ".bin")
"""How files of embeddings end."""
_LETTERS = re.compile(r"[a-z]+")
_IN_SOURCE = re.compile(r"(?P<source>builtin:[^/]+|[^./~][^/]*/[^/]+)/(?P<file>.+\.(safetensors|pt|bin))")


def _token(text: str) -> str:
    if _LETTERS.fullmatch(text):
        return text
    letters = "".join(_LETTERS.findall(text.lower()))
    raise wrong(
        "a token is one word of small letters, a to z: tokenizers take all else apart",
        *((f"did you mean '{letters}'?",) if letters else ()),
    )


class WrittenEmbedding(Sourced):
    """A learned embedding (textual inversion), and the word for it."""

    source: str = Field(
        min_length=1,
        description="A file: a path from this one, on the hub (org/name, or org/name/file.safetensors) or at an address.",
        examples=["./style.safetensors", "sd-concepts-library/cat-toy"],
    )
    token: Annotated[str, Field(min_length=1, max_length=400), AfterValidator(_token)] = Field(
        description="What is written in a prompt for it: small letters, a to z. Which words can be tokens depends on the "
        "model's tokenizer; the build says which would do.",
        examples=["stylex"],
        json_schema_extra={"pattern": "^[a-z]+$"},
    )


@dataclass(frozen=True)
class Embedding:
    """An embedding, ready to plan from."""

    token: str
    source: Source
    """What holds the file; of a file on this machine that is the file itself."""
    file: str | None
    """Its path in the source, where the recipe says it."""


def resolve_embeddings(written: Sequence[WrittenEmbedding], folders: Sequence[Path]) -> tuple[Embedding, ...]:
    """``folders``: where relative paths start."""
    found = []
    for each, folder in zip(written, folders, strict=True):
        source, file = find_source(each.source, each.revision, folder, each.sha256), None
        if (source.remote or source.shipped) and (inside := _IN_SOURCE.fullmatch(each.source)):
            source, file = find_source(inside["source"], each.revision, folder, each.sha256), inside["file"]
        found.append(Embedding(each.token, source, file))
    return tuple(found)
