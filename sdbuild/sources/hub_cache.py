"""The cache that the hub's own tools fill (``HF_HOME``, ``HF_HUB_CACHE``): what it has of a model is not fetched again.

It is only read. Its layout (huggingface.co/docs/huggingface_hub/guides/manage-cache): ``models--<org>--<name>`` holds
``refs/<revision>``, a text with the commit; ``snapshots/<commit>/<path>``, links to ``blobs/<name>``; and a blob's name is its
SHA-256 where Git LFS has the file, else git's SHA-1 of it. Where there are no links, a snapshot has the files themselves.
"""

import fcntl
import os
import re
from pathlib import Path

from sdbuild.sources.base import Progress, SourceFile

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 16 << 20
_CLONE = 0x40049409  # FICLONE of Linux: both files share the blocks until one of them is written to


class HubCache:
    """What the cache has of one model. Nothing is taken for right before its digest was looked at."""

    def __init__(self, repository: str, root: Path | None = None) -> None:
        """Without a root: where the environment says that the hub's tools keep theirs."""
        from huggingface_hub import constants

        self._folder = (root or Path(constants.HF_HUB_CACHE)) / f"models--{repository.replace('/', '--')}"

    def __str__(self) -> str:
        """Where it is."""
        return str(self._folder)

    def commit(self, revision: str) -> str | None:
        """What a branch, tag or commit stood for when the cache was filled; None for one without a snapshot."""
        try:
            commit = revision if _COMMIT.fullmatch(revision) else (self._folder / "refs" / revision).read_text().strip()
            return commit if _COMMIT.fullmatch(commit) and self._snapshot(commit).is_dir() else None
        except (OSError, ValueError):
            return None

    def files(self, commit: str) -> dict[str, SourceFile]:
        """The files that a snapshot has; one whose blob is gone is not there."""
        top, found = self._snapshot(commit), {}
        for folder, _, names in os.walk(top):
            for path in (Path(folder, name) for name in names):
                if path.is_file():
                    blob = path.resolve().name
                    sha256, sha1 = _SHA256.fullmatch(blob), _COMMIT.fullmatch(blob)
                    size = path.stat().st_size
                    file = SourceFile(path.relative_to(top).as_posix(), size, sha256 and blob, sha1 and blob)
                    found[file.path] = file
        return dict(sorted(found.items()))

    def find(self, file: SourceFile, commit: str) -> Path | None:
        """Where a file of a commit may be: a regular file of its size, which this user may read."""
        digest = file.sha256 or file.git_sha1
        blobs = [self._folder / "blobs" / digest] if digest else []
        for path in (*blobs, self._snapshot(commit) / file.path):
            try:
                if path.is_file() and path.stat().st_size == file.size and os.access(path, os.R_OK):
                    return path
            except OSError:
                continue
        return None

    def _snapshot(self, commit: str) -> Path:
        return self._folder / "snapshots" / commit


def clone(source: Path, target: Path) -> bool:
    """Make a file that shares the blocks of another, so that it takes no room; False where the disk can't.

    Btrfs, XFS and others can. Unlike a hard link the two are files of their own: a change of one, of its mode or
    time too, is none of the other.
    """
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new, _CLONE, old.fileno())
        except OSError:
            return False
    return True


def copy(source: Path, target: Path, progress: Progress) -> None:
    """The bytes of a file, with news every few of them."""
    with source.open("rb") as old, target.open("wb") as new:
        while block := old.read(_BLOCK):
            new.write(block)
            progress(new.tell())
