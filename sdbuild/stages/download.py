"""download: one model's weight files, verified."""

import json

from sdbuild.sources import SourceFile, open_source
from sdbuild.sources.base import digest
from sdbuild.stages import Job


def run(job: Job) -> None:
    """Put the weight files into the output, and their sizes and SHA-256 into ``files.json``.

    Files of the hub are downloaded, those of a local folder are links. Parameters: ``source``, for `open_source`. Inputs:
    ``files``, the model's ``files/<folder>.json`` of the config stage.
    """
    record = json.loads(job.inputs["files"].read_text(encoding="utf-8"))
    source = open_source(job.parameters["source"], record["commit"])
    files = [SourceFile(**file) for file in record["files"]]
    total, before, known = sum(file.size for file in files), 0, []
    for file in files:

        def progress(done: int, before: int = before) -> None:
            job.progress(before + done, total, "B")

        source.fetch(file, job.output, job.scratch, progress)
        with (job.output / file.name).open("rb") as content:
            known.append({"name": file.name, "size": file.size, "sha256": file.sha256 or digest(content)})
        before += file.size
    text = json.dumps({"files": known}, indent=2, sort_keys=True) + "\n"
    (job.output / "files.json").write_text(text, encoding="utf-8")
