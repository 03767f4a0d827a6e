"""The command ``build``: the tasks of a recipe are run by doit."""

from __future__ import annotations

from pathlib import Path

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, VARIANT, Command


def run(arguments: Arguments, here: Path) -> int:
    """Run the tasks that a command line names, all of a recipe where it names none; the exit status. Raises UserError."""
    from sdbuild.engine.scheduling import Reporter, run_tasks  # doit takes a while to import
    from sdbuild.engine.tasks import tasks_for

    reporter = Reporter()
    return run_tasks(tasks_for(arguments, here, reporter), reporter, arguments.words or ("build",), arguments.options)


COMMAND = Command(
    "build",
    "Build",
    "build a recipe into build/<recipe>/",
    """Runs what is missing of download, trace, convert, compress, chunk, compile, verify and bundle, and puts packages,
Resources and a manifest into build/<recipe>/, or build/<recipe>/<variant>/ of a recipe with variants. What was made
before is kept in a store, by the digest of what it was made from: a task runs only when that has changed.

Kill a build at any moment: the same command goes on from what is done, and ends in the same bytes.

A task or stage may be named instead, to make just that and what it needs: `convert:unet`, `download`.""",
    run,
    (CONFIG, VARIANT),
    (
        ("build", "build configs/shapes.yaml, which downloads nothing"),
        ("build sdxl-ios", "build a recipe that comes with sdbuild"),
        ("build mine.yaml variant=6bit -n 2", "one variant of a recipe of your own, two stages at once"),
        ("convert:unet mine.yaml", "make one task's artifact, and what it needs"),
    ),
    builds=True,
)
