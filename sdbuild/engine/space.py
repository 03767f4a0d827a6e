"""Whether the disk and the output folders will do, told before anything is made."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sdbuild.engine.progress import size
from sdbuild.engine.results import unwritten
from sdbuild.engine.survey import State, Waiting
from sdbuild.errors import UserError
from sdbuild.plan import Expected, Graph, Node
from sdbuild.store import Entry, Store
from sdbuild.store.errors import free_bytes


def disk_needed(graph: Graph, due: Iterable[Node]) -> int:
    """Bytes that the artifacts of tasks are expected to take."""
    nothing = Expected(0, 0)
    return sum(graph.users[node][0].expected.get(node, nothing).disk for node in due)


def surely_due(
    store: Store, due: Iterable[Node], states: Mapping[Node, State], last: Callable[[Node], Entry | None]
) -> list[Node]:
    """Of the tasks that are due, those that nothing can spare.

    A task that waits for its inputs need not run if they turn out as before, so it counts only where
    its artifact of last time is gone. ``last`` gives a task's entry in the record of its recipe.
    """
    found = []
    for node in due:
        entry = last(node) if isinstance(states[node], Waiting) else None
        if entry is None or store.stamp(entry.stage, entry.key) is None:
            found.append(node)
    return found


def check_space(store: Store, graph: Graph, nodes: Iterable[Node]) -> None:
    """Raise UserError if the disk of the store has no room for the artifacts of these tasks."""
    need, free = disk_needed(graph, nodes), free_bytes(store.root)
    if free is not None and free < need:
        raise UserError(
            f"the disk is too small: about {size(need)} needed in {store.root}, {size(free)} free. Make room "
            "(`doit gc older=0d` removes what no recipe in use needs), or set SDBUILD_STORE to a folder on a larger disk"
        )


def check_writable(folder: Path) -> None:
    """Raise UserError if results can't be written to a folder, which need not be there yet."""
    try:
        place = next(place for place in (folder, *folder.parents) if place.is_symlink() or place.exists())
        if not place.is_dir():
            raise OSError(errno.ENOTDIR, "", str(place))
        if os.statvfs(place).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "", str(place))
        if not os.access(place, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "", str(place))
    except OSError as error:
        raise unwritten(error, folder) from error
