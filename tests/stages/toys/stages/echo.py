"""echo: what was heard, and the job's own words, as often as it says."""

import os
from pathlib import Path

from sdbuild.jobs.echo import Echo

from sdbuild.stages import Place


def run(job: Echo, place: Place) -> None:
    """Write ``words``; somebody may edit this file meanwhile."""
    if os.environ.get("SCRIBBLE"):
        with Path(__file__).open("a") as code:
            code.write("# and more\n")
    heard = [f"{name}: {artifact.path.read_text()}" for name, artifact in job.heard.items()]
    last = [job.last.path.joinpath("words").read_text()] if job.last is not None else []
    text = " ".join([*heard, *last, *job.words])
    place.output.joinpath("words").write_text(" ".join([text.upper() if job.voice.loud else text] * job.voice.times))
