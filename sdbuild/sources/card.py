"""Model cards: what ``README.md`` of a source says of author, license and version, as the hub has it.

A card is text with YAML between two lines of three dashes at its beginning (the hub's documentation, "Model Cards").
"""

import re
from collections.abc import Callable
from typing import Any

import yaml

from sdbuild.bounded_yaml import BoundedLoader
from sdbuild.sources.base import Source
from sdbuild.standins import ENOUGH, stand_in

CARD = "README.md"
_MOST = 1 << 20  # bytes of a card that is looked at
_MOST_METADATA = 1 << 15  # characters of its YAML: the longest on the hub are lists of languages and scores
_MOST_SHOWN = 200  # characters of one entry
_METADATA = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)


def read_card(source: Source, warn: Callable[[str], None]) -> dict[str, str]:
    """``author``, ``license`` and ``version`` for the models made of a source; those that nobody says are left out.

    A model of the hub has its id as version, and where no author is named the reader is sent to its card, as in the models that
    Apple published. ``warn`` is told of a card that can't be read; it is no reason to stop.
    """
    said = _metadata(source, warn)
    about = {
        "author": _text(said.get("author") or said.get("authors")),
        "license": _license(said),
        "version": _text(said.get("version")),
    }
    if source.title is not None:
        about["author"] = about["author"] or f"See the model card of {source.title}"
        about["version"] = source.title
    return {key: value for key, value in about.items() if value}


def _metadata(source: Source, warn: Callable[[str], None]) -> dict[str, Any]:
    file = source.files.get(CARD)
    if file is None or file.size > _MOST:
        return {}
    content = source.read(CARD)
    if content and (wrong := stand_in(content[:ENOUGH])):
        warn(f"{source.name}: {CARD} {wrong}; without it the models carry no license and author")
    found = _METADATA.match(content.decode("utf-8-sig", errors="replace"))
    if found is None:
        return {}
    try:
        if len(found[1]) > _MOST_METADATA:
            raise ValueError("too long")
        metadata = yaml.load(found[1], Loader=BoundedLoader)
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError):  # `!!bool x` and its like
        warn(
            f"{source.name}: the lines between --- in {CARD} can't be read as YAML, so the models carry no license and author "
            "of it; mend them, or write license and author under `model:`"
        )
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _license(metadata: dict[str, Any]) -> str:
    name, link = _text(metadata.get("license")), _text(metadata.get("license_link"))
    if name.lower() in ("", "other", "unknown"):  # the hub's words for one that has no identifier there
        name = _text(metadata.get("license_name")) or name
    return f"{name} ({link})" if name and link.startswith(("https://", "http://")) else name


def _text(value: Any) -> str:
    """One line of it, or of the items of a list; empty for anything else."""
    items = value if isinstance(value, list) else [value]
    words = [" ".join(str(item).split()) for item in items if type(item) in (str, int, float)]
    line = ", ".join(word for word in words if word and word.isprintable())
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"
