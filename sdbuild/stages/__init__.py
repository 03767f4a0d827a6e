"""The stages: one file each, thin, every one run in a process of its own (``python -m sdbuild.stages JOB``).

``run(job, place)`` is given the stage's job, as it is declared in `jobs/`, and where to work.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sdbuild import extensions
from sdbuild.errors import UserError
from sdbuild.job import Artifact

__all__ = ["Place", "learned_in", "packages_in"]
__path__ = extensions.folders(__name__)


@dataclass(frozen=True)
class Place:
    """Where a stage works, and whom it reports to."""

    output: Path
    """An empty folder to fill; it becomes the artifact when ``run`` returns."""
    scratch: Path
    """A folder that outlives a failed or killed attempt: what a download has so far."""
    progress: Callable[[int, int, str], None]
    """Call with (done, total, unit), as often as there is news."""
    warn: Callable[[str], None] = lambda text: None
    """Call with a line that the user should read though the build goes on: what was found, what it means, what to do."""

    def counter(self, total: int, unit: str) -> Callable[[], None]:
        """To be called after each of ``total`` things that are done one by one."""
        done = itertools.count(1)
        return lambda: self.progress(next(done), total, unit)


def packages_in(path: Path) -> list[Path]:
    """The ``.mlpackage`` folders in an artifact, by name; ``path`` itself if it is one.

    Raises:
        UserError: there is none.
    """
    found = [path] if path.suffix == ".mlpackage" else sorted(path.glob("*.mlpackage"))
    if not found:
        raise UserError(f"{path}: no .mlpackage in it")
    return found


def learned_in(embeddings: Artifact | None) -> tuple[str, ...]:
    """The tokens in an ``embeddings.json`` of config."""
    found = json.loads(embeddings.path.read_text(encoding="utf-8")) if embeddings is not None else ()
    return tuple(each["token"] for each in found)
