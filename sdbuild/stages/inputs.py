"""What a stage reads, watched while it reads: nothing is committed that was made of other bytes than the key says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.store import Artifact, Store
from sdbuild.store.integrity import Damage, find_damage, set_aside

_State = tuple[int, ...]


class DamagedInputError(Exception):
    """Artifacts that the stage reads are not what was made; they are condemned, and can be made again."""


class Inputs:
    """The artifacts that a job names, and the files of the user's that it reads.

    Artifacts are compared with their stamps by a thread, byte by byte, beside the stage, which is faster than before it: what
    one reads the other finds in the system's cache. A stage that makes hard links to its inputs is waited for, as what it
    links to then is what it ships. All files may change at any time, those of the user's at their will: the status of each
    is compared before and after, with the time of its last change, which nobody can put back. A file of the user's that has
    the times which it had when it was taken in was hashed then, and is not read whole again beside each stage.
    """

    def __init__(self, store: Store, job: Mapping[str, Any]) -> None:
        """Begin to read. Raises DamagedInputError and SourceError for what can be seen at once."""
        self._store = store
        self._parts: list[tuple[Artifact, str | None]] = []
        for item in job["inputs"]:
            found = store.look(item["stage"], item["key"])
            if not isinstance(found, Artifact):
                raise DamagedInputError(f"{item['stage']}: {found.damage or 'gone'}")
            subpath = os.path.relpath(item["path"], found.path)
            self._parts.append((found, None if subpath == "." else subpath))
        self.artifacts = list({artifact.path: artifact for artifact, _ in self._parts}.values())
        """Each once."""
        self._outside = {path: _state(path) for path in map(Path, job["outside"])}
        for text, planned in job["outside"].items():
            state = self._outside[Path(text)]
            if state is None or state[2 : 2 + len(planned)] != tuple(planned):
                raise _changed(Path(text))
        states = {path: _state(Path(path)) for path in job["taken_in"]}
        self._trusted = {
            (state[0], state[1])
            for path, state in states.items()
            if state is not None and state[2:] == tuple(job["taken_in"][path])
        }
        self._inside: dict[tuple[Path, str], _State | None] = {}
        for artifact in self.artifacts:
            for file in artifact.stamp.files:
                place = artifact.path / file.path
                if place.is_symlink():
                    self._outside[place.resolve()] = _state(place)
                else:
                    self._inside[artifact.path, file.path] = _state(place)
        self._damages: list[Damage] = []
        self._error: BaseException | None = None
        self._links = job["links"]
        self._reader = Thread(target=self._read, daemon=True)
        if not self._links:
            self._reader.start()

    def _read(self) -> None:
        try:
            self._damages = find_damage(self._parts, trusted=self._trusted)
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Wait for the reader.

        Raises:
            SourceError: a file outside the store changed meanwhile.
            UserError: an artifact is damaged and can't be replaced.
            DamagedInputError: artifacts were damaged, or written to.
        """
        if self._links:
            self._reader.start()
        self._reader.join()
        for path, before in self._outside.items():
            if before is None or _state(path) != before:
                raise _changed(path)
        if self._error is not None:
            raise self._error
        written = self._written()
        if not self._damages:
            if written:
                raise DamagedInputError(f"{', '.join(written[:3])} written to while it was read")
            return
        raise DamagedInputError(set_aside(self._store, self._damages))

    def _written(self) -> list[str]:
        """Files of artifacts that were written to since the stage began, though it may be that they are as they were again.

        What the reader saw before counts no more. A hard link, which any build may make at any time, changes the time of a
        file's last change alone: then the content, read again, decides.
        """
        written = []
        for artifact in self.artifacts:
            for file in artifact.stamp.files:
                before, now = self._inside.get((artifact.path, file.path)), _state(artifact.path / file.path)
                if before is None or now == before:
                    continue
                if not self._links:
                    self._damages += find_damage([(artifact, file.path)])
                if now is None or now[:4] != before[:4]:
                    written.append(f"{artifact.stamp.stage}: {file.path}")
        return written


def _state(path: Path) -> _State | None:
    """What changes with a file's content or place; None when it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _changed(path: Path) -> SourceError:
    return SourceError(
        f"{path} changed while it was built from, so nothing was kept of this stage; run the same command again when nothing "
        "writes to it"
    )
