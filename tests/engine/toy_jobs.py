"""The jobs of the toy's stages: all say the same, each is of a stage of its own. See ``toy``."""

from dataclasses import dataclass, field
from typing import Any

from sdbuild.job import Artifact, stage
from sdbuild.jobs.config import SourceFacts

CODE = "tests.engine.toy_stage"
_STAGES = ("config", "trace", "convert", "compress", "compile", "bundle")
_CODES = (CODE, "tests.engine.toy_slow")


@dataclass(frozen=True, kw_only=True)
class Play:
    """Files to write, and what to do beside that: see ``toy_stage``."""

    name: str
    files: tuple[str, ...]
    text: str
    inputs: dict[str, Artifact]
    source: SourceFacts | None = None
    warn: str | None = None
    sleep: float = 0.02
    wrong: str | None = None
    pid: str = ""
    once: bool = False
    seen: str | None = None
    scribble: str | None = None
    links: dict[str, str] = field(default_factory=dict)
    symlinks: dict[str, str] = field(default_factory=dict)
    meddle: tuple[str, ...] = ()


def _name(stage_name: str, code: str, fetches: bool) -> str:
    return f"{stage_name}_{code.rpartition('_')[2]}{'_online' * fetches}"


for _stage in _STAGES:
    for _code in _CODES:
        for _fetches in (False, True):
            _own = _name(_stage, _code, _fetches)
            _declare = stage(_stage, version=1, title=f"play {_stage}", tools=("doit",), code=_code, fetches=_fetches)
            globals()[_own] = _declare(type(_own, (Play,), {"__module__": __name__}))


def play(stage_name: str, inputs: dict[str, Artifact], given: dict[str, Any]) -> Any:
    """A job of a stage; ``given`` are its fields as JSON, and also ``code``, the stage's, and ``fetches``."""
    fields = dict(given)
    kind = globals()[_name(stage_name, fields.pop("code", CODE), fields.pop("fetches", False))]
    for name in ("files", "meddle"):
        if name in fields:
            fields[name] = tuple(fields[name])
    if "source" in fields:
        fields["source"] = SourceFacts(id="toy", **fields["source"])
    return kind(inputs=inputs, **fields)
