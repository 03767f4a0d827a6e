"""A place to make one artifact in, beside the artifacts, so that it can be moved among them in one step."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


class Workplace:
    """Folders and files of one attempt. Only who holds the lock of its key may use it."""

    def __init__(self, root: Path, key: str) -> None:
        """Nothing is made yet."""
        self.folder = root / "work" / key
        self.output = self.folder / "output"
        self.scratch = root / "partial" / key
        """Kept when an attempt fails or is killed, for the next: downloads are resumed from here."""
        self.job = self.folder / "job.json"
        self.log = self.folder / "log"
        self.kept_log = root / "logs" / f"{key[:16]}.log"

    def prepare(self) -> None:
        """Make the folders, without what a killed attempt left of them."""
        self.remove()
        self.output.mkdir(parents=True)
        self.scratch.mkdir(parents=True, exist_ok=True)

    def seal(self) -> None:
        """Make the files of the output read-only: results are hard links to them, and an edit there would change all."""
        for path in self.output.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with suppress(OSError):  # a file system without modes
                    path.chmod(path.stat().st_mode & 0o7555)

    def keep_log(self) -> Path:
        """Move the log to where it outlives the work folder."""
        self.kept_log.parent.mkdir(parents=True, exist_ok=True)
        return self.log.replace(self.kept_log)

    def remove(self, *, scratch: bool = False) -> None:
        """Remove the work folder, and with ``scratch`` what was kept for a next attempt."""
        for folder in (self.folder, self.scratch) if scratch else (self.folder,):
            shutil.rmtree(folder, ignore_errors=True)
