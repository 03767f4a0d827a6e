"""echo: a stage of tests, which repeats what other artifacts say."""

from __future__ import annotations

from dataclasses import dataclass

from sdbuild.job import Artifact, stage


@dataclass(frozen=True, kw_only=True)
class Voice:
    """How to say it."""

    times: int
    loud: bool = False


@stage("echo", version=1, title="repeat what others say", tools=lambda job: ("pyyaml",) if job.voice.loud else ())
class Echo:
    """``words``."""

    voice: Voice
    words: tuple[str, ...]
    heard: dict[str, Artifact]
    last: Artifact | None = None
