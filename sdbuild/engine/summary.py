"""What a build came to, told at its end."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sdbuild.engine.progress import size
from sdbuild.engine.results import folder_of
from sdbuild.engine.session import Session
from sdbuild.errors import Status
from sdbuild.plan import Build
from sdbuild.plan.stages import VERIFY
from sdbuild.recipe.problems import display

_AGAIN = "the same command, run again, goes on from there"
_NEXT: dict[int, str] = {
    Status.VERIFICATION: "give the recipe more bits, or a lower min_psnr under `verify`: only what that changes is "
    "done again"
}
"""What to do after a failure, where the same command would only fail again."""


def tell_end(session: Session, status: int) -> None:
    """Print what was done and, where whole builds were asked for and succeeded, what they are."""
    counts = [(len(session.ran), "run"), (len(session.reused - set(session.ran)), "reused")]
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    if status != Status.DONE:
        print(
            f"not finished ({told}); what is done is kept: {_NEXT.get(status, _AGAIN)}" if told else "nothing was built"
        )
        return
    shown = session.shown
    if len(shown) == 1:
        print(_of_one(session, shown[0]))
    elif shown:
        print(_of_many(session, shown))
    for node, artifact in session.artifacts().items():
        if node.stage == VERIFY:
            report = (artifact.path / "verify.txt").read_text(encoding="utf-8").rstrip()
            print(f"{session.graph.names[node]}: against PyTorch\n{textwrap.indent(report, '  ')}")
    for build in shown[:1] if len(shown) == 1 else ():
        print(f"Resources for the app: {display(folder_of(build, session.here))}/Resources")
    print(f"{_places(session, shown)}{told or 'nothing to do'}")


def _places(session: Session, builds: Sequence[Build]) -> str:
    folders = {session.here / "build" / build.name for build in builds}
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
        rows.append(
            (build.variant or build.name, size(packages), size(resources), display(folder_of(build, session.here)))
        )
    return table(rows)


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Text in columns: the first one and any that holds no digits to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [column > 0 and any(row[column][:1].isdigit() for row in rows[1:]) for column in range(len(widths))]
    return "\n".join(
        indent
        + "  ".join(
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )
