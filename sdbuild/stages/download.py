"""download: one model's weight files, verified."""

import json
from dataclasses import asdict

from sdbuild.jobs.download import Download
from sdbuild.sources import SourceFile, open_source
from sdbuild.sources.base import digest
from sdbuild.stages import Place


def run(job: Download, place: Place) -> None:
    """Put the weight files into the output, and their sizes and SHA-256 into ``files.json``.

    Files of the hub are downloaded, those of a local folder are links.
    """
    record = json.loads(job.files.path.read_text(encoding="utf-8"))
    source = open_source(asdict(job.source), record["commit"])
    files = [SourceFile(**file) for file in record["files"]]
    total, before, known = sum(file.size for file in files), 0, []
    for file in files:

        def progress(done: int, before: int = before) -> None:
            place.progress(before + done, total, "B")

        source.fetch(file, place.output, place.scratch, progress)
        with (place.output / file.name).open("rb") as content:
            known.append({"name": file.name, "size": file.size, "sha256": file.sha256 or digest(content)})
        before += file.size
    text = json.dumps({"files": known}, indent=2, sort_keys=True) + "\n"
    (place.output / "files.json").write_text(text, encoding="utf-8")
