"""A contract for import-linter: the table of rooms in docs/architecture.md. Its last column is what a room may import."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

_ROW = re.compile(r"\| `sdbuild/(?P<room>\w+)(?:/|\.py)` \|.*\| (?P<imports>[^|]+) \|")


def read_rooms(text: str) -> dict[str, set[str] | None]:
    """Room → the rooms that it may import; None for all of them."""
    rows = {match["room"]: match["imports"] for line in text.splitlines() if (match := _ROW.fullmatch(line))}
    return {
        room: None if imports == "all" else set() if imports == "–" else set(imports.split(", "))
        for room, imports in rows.items()
    }


def offences(graph: ImportGraph, package: str, rooms: dict[str, set[str] | None]) -> dict[str, list[str]]:
    """Imports that the table does not allow, each with the modules that have it.

    A module right in the package without a row of its own is for everybody, and may import no room but for others of its kind.
    A room whose folder is not there, or a folder without a row, is one, too.
    """
    found: dict[str, list[str]] = defaultdict(list)
    named = {module.split(".")[1] for module in graph.modules if module.count(".")}
    for room in rooms.keys() - named:
        found[f"{room} is in the table alone"] = []
    for folder in {module.split(".")[1] for module in graph.modules if module.count(".") > 1} - rooms.keys():
        found[f"{folder} is not in the table"] = []
    for module in sorted(graph.modules):
        room = _room(module)
        allowed = rooms.get(room, set())
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            other = _room(imported)
            if imported.startswith(f"{package}.") and other in rooms and other != room and not _may(allowed, other):
                found[f"{room} may not import {other}"].append(f"{module} -> {imported}")
    return found


def _room(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def _may(allowed: set[str] | None, room: str) -> bool:
    return allowed is None or room in allowed


class Rooms(Contract):  # type: ignore[misc]
    """The table in ``table``, a file; ``entries`` start programs and may import what they start."""

    table = fields.StringField()
    entries = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at every import between rooms."""
        for entry in self.entries:
            graph.remove_module(entry)
        rooms = read_rooms(Path(self.table).read_text(encoding="utf-8"))
        found = offences(graph, self.session_options["root_packages"][0], rooms)
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: Any) -> None:
        """Print them."""
        for what, imports in check.metadata["found"].items():
            output.print_error(what, bold=True)
            for each in imports:
                output.print(f"    {each}")
            output.new_line()
