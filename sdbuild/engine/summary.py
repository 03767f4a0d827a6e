"""The outcome of a build, reported at its end."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from sdbuild.engine.answer import Answer
from sdbuild.engine.progress import size
from sdbuild.engine.session import Session
from sdbuild.engine.table import table
from sdbuild.errors import Status
from sdbuild.plan import Build
from sdbuild.recipe.problems import display

_AGAIN = "the same command, run again, goes on from there"
_NEXT: dict[int, str] = {
    Status.VERIFICATION: "give the recipe more bits, or a lower min_psnr under `verify`: only what that changes is "
    "done again"
}
"""What to do after a failure, where the same command would only fail again."""


def outcome(session: Session, status: int, *, keep_going: bool = False) -> Answer:
    """What was done and, where whole builds were asked for and succeeded, what they are.

    ``keep_going``: it went on after a failure with all that did not depend on it.
    """
    counts = [(len(session.ran), "run"), (len(session.reused - set(session.ran)), "reused")]
    counted = ", ".join(f"{count} {what}" for count, what in counts if count)
    data = {
        "ran": list(session.ran),
        "reused": sorted(session.reused - set(session.ran)),
        "written": session.published,
        "results": [_result(session, build) for build in session.shown],
        "verify": _verified(session),
    }
    if status != Status.DONE:
        ending = f"not finished ({counted}); what is done is kept: {_NEXT.get(status, _AGAIN)}"
        lines = [f"{display(session.to.folder(build))}: finished" for build in session.shown]
        if len(session.graph.builds) > 1 and not keep_going:
            lines.append("other variants may not have been tried: -c goes on with what does not depend on a failure")
        return Answer("\n".join([*lines, ending]) if counted else "nothing was built", data, status)
    shown = session.shown
    parts = [_of_one(session, shown[0]) if len(shown) == 1 else _of_many(session, shown)] if shown else []
    for node, artifact in session.artifacts().items():
        if node.stage.name == "verify":
            report = (artifact.path / "verify.txt").read_text(encoding="utf-8").rstrip()
            parts.append(f"{session.graph.names[node]}: against PyTorch\n{textwrap.indent(report, '  ')}")
    if len(shown) == 1:
        parts.append(f"Resources for the app: {display(session.to.folder(shown[0]))}/Resources")
    parts.append(f"{_places(session, shown)}{counted or 'nothing to do'}")
    return Answer("\n".join(parts), data, status)


def _result(session: Session, build: Build) -> dict[str, Any]:
    artifacts = session.artifacts()
    bundle = artifacts[build.result]
    return {
        "recipe": build.name,
        "variant": build.variant,
        "folder": str(session.to.folder(build)),
        "resources_bytes": bundle.size("Resources"),
        "models": [
            {
                "name": model.name,
                "parameters": model.parameters or None,
                "bits": model.bits,
                "package_bytes": artifacts[model.package.node].size(model.package.subpath),
                "compiled_bytes": bundle.size(f"Resources/{model.name}.mlmodelc"),
            }
            for model in build.models
        ],
    }


def _verified(session: Session) -> dict[str, Any]:
    """The reports of ``verify`` by task; docs of `sdbuild.verify.report` say what is in them."""
    return {
        session.graph.names[node]: json.loads((artifact.path / "verify.json").read_text(encoding="utf-8"))
        for node, artifact in session.artifacts().items()
        if node.stage.name == "verify"
    }


def _places(session: Session, builds: Sequence[Build]) -> str:
    folders = {session.to.top(build) for build in builds}
    state = "written" if session.published else "up to date"
    return "".join(f"{display(folder)}: {state}; " for folder in sorted(folders))


def _of_one(session: Session, build: Build) -> str:
    artifacts = session.artifacts()
    bundle = artifacts[build.result]
    rows = []
    for model in build.models:
        package = artifacts[model.package.node].size(model.package.subpath)
        compiled = bundle.size(f"Resources/{model.name}.mlmodelc")
        count = f"{model.parameters / 1e6:,.0f} M" if model.parameters else ""
        rows.append((model.name, count, model.bits, size(package), size(compiled)))
    heads = ("model", "parameters", "bits", "package", "compiled")
    keep = [index for index in range(len(heads)) if any(row[index] for row in rows)]
    return table([[line[index] for index in keep] for line in (heads, *rows)]) if rows else ""


def _of_many(session: Session, builds: Sequence[Build]) -> str:
    artifacts = session.artifacts()
    rows: list[Sequence[str]] = [("variant", "packages", "Resources", "in")]
    for build in builds:
        packages = sum(artifacts[model.package.node].size(model.package.subpath) for model in build.models)
        resources = artifacts[build.result].size("Resources")
        rows.append((build.variant or build.name, size(packages), size(resources), display(session.to.folder(build))))
    return table(rows)
