"""The command ``build``: the tasks of a recipe are run by doit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import CONFIG, JSON, LOG, OUT, VARIANT, Command
from sdbuild.engine.output import display_of, logging
from sdbuild.errors import Status


def run(arguments: Arguments, here: Path) -> Answer:
    """Run the tasks that a command line names, all of a recipe where it names none. Raises UserError."""
    from sdbuild.engine.building import do_tasks  # what other commands, and help, need none of
    from sdbuild.engine.opening import session_for
    from sdbuild.engine.summary import outcome

    with logging(arguments, here) as log:
        session = session_for(arguments, here, display_of(arguments, log))
        status = do_tasks(session, arguments.words or ("build",), arguments.options)
        answer = outcome(session, status, keep_going=arguments.options.keep_going)
        if log is not None:
            log.write(f"{answer.text}\n")
    if log is not None and not log.is_whole():
        return replace(answer, status=answer.status or Status.FAILED)
    return answer


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
    (CONFIG, VARIANT, OUT, LOG, JSON),
    (
        ("build", "build configs/shapes.yaml, which downloads nothing"),
        ("build sdxl-ios", "build a recipe that comes with sdbuild"),
        ("build mine.yaml variant=6bit -n 2", "one variant of a recipe of your own, two stages at once"),
        (
            "build mine.yaml out=App/Models log=build.log",
            "results to a folder of your own, and all that is printed to a file",
        ),
        ("convert:unet mine.yaml", "make one task's artifact, and what it needs"),
    ),
    builds=True,
)
