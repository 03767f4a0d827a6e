"""Keys: what an artifact is made of, in the clear and as a digest, and how two such lists differ."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sdbuild.extensions import outside
from sdbuild.plan.graph import Node, canonical

_VERSION = re.compile(r"^Version: *([^\s]+)$", re.MULTILINE)


def ingredients(node: Node, digests: Iterable[str]) -> dict[str, Any]:
    """Everything that may show in the artifact of a node. ``digests`` are those of its inputs, in their order.

    Of an input's subpath the last name counts: it is what the stage sees. Raises UserError: an extension can't be read.
    """
    return {
        "stage": node.stage.name,
        "version": node.stage.version,
        "parameters": node.settings,
        "inputs": [
            {"role": item.role, "name": PurePosixPath(item.subpath or "").name, "digest": digest}
            for item, digest in zip(node.inputs, digests, strict=True)
        ],
        "tools": {tool: tool_version(tool) for tool in node.stage.tools_for(node.job)},
    } | _added(node)


def _added(node: Node) -> dict[str, Any]:
    """The code of extensions that does a part of the work: nothing where sdbuild's own does all of it."""
    added = {path: code.digest for path, code in outside(node.stage.code_for(node.job)).items()}
    return {"extensions": added} if added else {}


def key_of(ingredients: Mapping[str, Any]) -> str:
    """SHA-256 of the ingredients, in hexadecimal."""
    return hashlib.sha256(canonical(ingredients).encode()).hexdigest()


@functools.cache
def tool_version(distribution: str) -> str:
    """The installed version of a distribution, found without importing it.

    Without what follows a plus sign: it tells how a package was built (torch's ``+cpu``), and what it writes is the same.
    """
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    # `version` would parse all of it as an e-mail, the package's description included: milliseconds for each.
    match = _VERSION.search(found.read_text("METADATA") or "")
    return (match[1] if match else found.version).partition("+")[0]


@dataclass(frozen=True)
class Difference:
    """One thing in which two lists of ingredients differ."""

    kind: str
    """setting, file, input, tool, code, or extension."""
    name: str
    """Such as ``steps[0].palettize.bits``, ``package``, ``torch``."""
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        """A phrase for people."""
        if self.kind == "input":
            return f"the input {self.name} changed"
        if self.kind == "file":
            return f"the model's file {self.name} {_became(self)}"
        if self.kind == "extension":
            return f"the extension with {self.name} {_became(self)}"
        if self.kind == "code":
            return f"this version of sdbuild does it differently ({self.before} → {self.after})"
        return f"{_readable(self.name)} {_shown(self.before)} → {_shown(self.after)}"


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """In what the ingredients of two runs of a stage differ."""
    found = []
    if before["version"] != after["version"]:
        found.append(Difference("code", "version", before["version"], after["version"]))
    for name, old, new in _changes(before["parameters"], after["parameters"], ""):
        place, of_files, file = name.partition(".files.")
        found.append(Difference("file", file, old, new) if of_files else Difference("setting", place, old, new))
    old_inputs, new_inputs = (
        {item["role"]: (item["name"], item["digest"]) for item in side["inputs"]} for side in (before, after)
    )
    for role in dict.fromkeys((*old_inputs, *new_inputs)):
        if old_inputs.get(role) != new_inputs.get(role):
            found.append(Difference("input", role, old_inputs.get(role), new_inputs.get(role)))
    for name, old, new in _changes(before["tools"], after["tools"], ""):
        found.append(Difference("tool", name, old, new))
    old, new = before.get("extensions", {}), after.get("extensions", {})
    for path in dict.fromkeys((*old, *new)):
        if old.get(path) != new.get(path):
            found.append(Difference("extension", path, old.get(path, _NOTHING), new.get(path, _NOTHING)))
    return found


_NOTHING = object()


def _became(one: Difference) -> str:
    return "is new" if one.before is _NOTHING else "is gone" if one.after is _NOTHING else "was edited"


def _changes(old: Any, new: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which two JSON values differ, each with its place. A shape is one leaf."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _changes(old.get(key, _NOTHING), new.get(key, _NOTHING), f"{name}.{key}" if name else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and not _SHAPE.fullmatch(name):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _changes(a, b, f"{name}[{index}]")
    elif old != new:
        yield name, old, new


_SHAPE = re.compile(r"inputs\[([0-9]+)\]")
"""Where a job has the shapes of a component's inputs, one by one."""


def _readable(name: str) -> str:
    """What a setting is called in a phrase: as recipes and docs call it."""
    found = _SHAPE.fullmatch(name)
    return f"the shape of input {int(found[1]) + 1}" if found else name


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
