"""download: one model's weight files, verified."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sdbuild.digests import digest_written
from sdbuild.jobs.download import Download
from sdbuild.sources import Source, SourceFile, open_source
from sdbuild.stages import Place


def run(job: Download, place: Place) -> None:
    """Put the weight files into the output, and their sizes and SHA-256 into ``files.json``.

    Files of the hub are downloaded, those of a local folder are links. What is a single file's goes into a folder for each of
    its components, with ``names.json``, which says where in the file each tensor lies; the file is there under as many names.
    """
    record = json.loads(job.files.path.read_text(encoding="utf-8"))
    source = open_source(asdict(job.source), record["commit"])
    files = [SourceFile(**file) for file in record["files"]]
    total, before, known = sum(file.size for file in files), 0, []
    names: dict[str, Any] = record.get("names", {})
    folder = place.output / min(names) if names else place.output
    folder.mkdir(exist_ok=True)
    for file in files:

        def progress(done: int, before: int = before) -> None:
            place.progress(before + done, total, "B")

        known.append(_fetch(source, file, folder, place.scratch, progress))
        before += file.size
    for component, tensors in names.items():
        if (own := place.output / component) != folder:
            own.mkdir()
            for file in files:
                _link(folder / file.name, own / file.name)
        _write({"names": tensors}, own / "names.json")
        _write({"files": known}, own / "files.json")
    if not names:
        _write({"files": known}, folder / "files.json")


def _fetch(
    source: Source, file: SourceFile, folder: Path, scratch: Path, progress: Callable[[int], None]
) -> dict[str, Any]:
    source.fetch(file, folder, scratch, progress)
    return {"name": file.name, "size": file.size, "sha256": file.sha256 or digest_written(folder / file.name)}


def _link(file: Path, to: Path) -> None:
    """Another name for a file; for a link to a user's file another such link."""
    if file.is_symlink():
        to.symlink_to(file.readlink())
    else:
        os.link(file, to)


def _write(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
