"""The tasks as doit knows them: doit orders them, and asks the store, never its own database, which need running."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import FrameType
from typing import Any

from doit.action import BaseAction
from doit.control import TaskControl
from doit.dependency import Dependency
from doit.exceptions import BaseFail, TaskFailed
from doit.runner import MThreadRunner, Runner
from doit.task import Stream, Task

from sdbuild.engine.arguments import Options
from sdbuild.engine.running import RUNNING
from sdbuild.engine.session import Session, results_task
from sdbuild.errors import NO_MEMORY, Status, UserError
from sdbuild.program import complain, note, report_fault

_INTERRUPTED = "interrupted; what is done is kept: the same command goes on from there"


class Action(BaseAction):  # type: ignore[misc]
    """Call a function. What it prints is not captured: with threads, doit would mix up the streams."""

    def __init__(self, call: Callable[[], None]) -> None:
        """``call`` raises UserError when it fails."""
        self._call = call
        self.task: Task | None = None
        self.out = self.err = ""
        self.result: str | None = None
        self.values: dict[str, Any] = {}

    def execute(self, out: object = None, err: object = None) -> TaskFailed | None:
        """Run it, as doit asks, which would take other errors for the end of a run that succeeded."""
        try:
            self._call()
        except UserError as error:
            return _Failure(error)
        except MemoryError:
            return _Failure(UserError(NO_MEMORY))
        except Exception as error:
            report_fault(error)
            return _Failure(UserError("this is a bug in sdbuild; its traceback is above", status=Status.FAULT))
        return None


class _Failure(TaskFailed):  # type: ignore[misc]
    """How a task of ours fails."""

    def __init__(self, error: UserError) -> None:
        super().__init__(str(error))
        self.status = error.status


def graph_tasks(session: Session) -> Iterator[Task]:
    """A task for each node, one for each build's folder, ``build`` for all of those, and one for each stage's nodes."""
    graph = session.graph
    for name, node in graph.tasks.items():
        inputs = list(dict.fromkeys(graph.names[item.node] for item in node.inputs))
        yield _task(name, partial(session.is_done, node), partial(session.run, node), inputs, node.stage.title)
    shown = [results_task(build) for build in graph.builds]
    for name, build in zip(shown, graph.builds, strict=True):
        result = [graph.names[build.result]]
        yield _task(name, partial(session.is_shown, build), partial(session.show, build), result, None)
    yield Task("build", None, task_dep=shown)
    for stage in dict.fromkeys(node.stage for node in graph.tasks.values()):
        names = [name for name, node in graph.tasks.items() if node.stage == stage]
        if stage.name not in names:
            yield Task(stage.name, None, task_dep=names, doc=stage.title)


def _task(name: str, is_done: Callable[[], bool], run: Callable[[], None], after: list[str], doc: str | None) -> Task:
    failure: list[Exception] = []

    def up_to_date() -> bool:
        try:
            return is_done()
        except Exception as error:  # doit has no way to fail here: let the action
            failure.append(error)
            return False

    def act() -> None:
        if failure:
            raise failure[0]
        run()

    return Task(name, [Action(act)], uptodate=[up_to_date], task_dep=after, doc=doc)


class Reporter:
    """What doit reports. The user hears of failures at once, of all else from the session."""

    desc = "sdbuild's own"

    def __init__(self, session: Session) -> None:
        """Of a build that has taken the store into use."""
        self._session = session
        self.status: int = Status.DONE
        """The highest of what failed."""
        self._handlers: dict[int, Any] = {}
        self._told: set[str] = set()

    def initialize(self, tasks: Mapping[str, Task], selected: Iterable[str]) -> None:
        """The tasks are about to run."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                self._handlers[number] = signal.signal(number, _stop)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """A task failed, or can't run because another one did."""
        self._fail(fail.status if isinstance(fail, _Failure) else Status.FAILED)
        if isinstance(fail, _Failure) and fail.message not in self._told:
            self._told.add(fail.message)  # what stops every task, as a disk too small does, is said once
            complain(fail.message)

    def runtime_error(self, message: str) -> None:
        """doit can't make sense of the tasks."""
        self._fail(Status.FAULT)
        complain(message)

    def _fail(self, status: int) -> None:
        self.status = max(self.status, status)

    def complete_run(self) -> None:
        """No more will run."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        try:
            if not RUNNING.stopped:
                self._session.finish()
        except UserError as error:
            self._fail(error.status)
            complain(str(error))
        finally:
            self._session.close()
        if RUNNING.stopped:
            sys.stdout.flush()
            sys.stderr.write(f"{_INTERRUPTED}\n")
            note("error", _INTERRUPTED)

    def _ignore(self, task: Task) -> None:
        """Not told."""

    get_status = execute_task = add_success = skip_uptodate = skip_ignore = teardown_task = cleanup_error = _ignore


def _stop(number: int, frame: FrameType | None) -> None:
    """End the stages and this process when it is asked to end. What is finished is in the store already."""
    RUNNING.stop()
    raise SystemExit(128 + number)


def run_tasks(session: Session, words: Iterable[str], options: Options) -> int:
    """Let doit run the tasks that ``words`` name; the exit status."""
    reporter = Reporter(session)
    control = TaskControl(list(graph_tasks(session)))
    control.process(list(words))
    settings = (Dependency(_Nowhere, ""), reporter, options.keep_going, False, Stream(0))
    # Processes of doit's would hang for ever once one is killed; our actions leave the standard streams alone, as threads need.
    runner = MThreadRunner(*settings, num_process=options.jobs) if options.jobs > 1 else Runner(*settings)
    failed = runner.run_all(control.task_dispatcher())
    return reporter.status or (Status.FAULT if failed else Status.DONE)


class _Nowhere:
    """doit's own database, of which nothing is kept: nothing could be out of date, corrupt, or locked by another run."""

    name = ""

    def __init__(self, *_: object, **__: object) -> None:
        """No file is opened."""

    def get(self, *_: object) -> None:
        """It knows nothing."""

    def in_(self, _: object) -> bool:
        """It knows nothing."""
        return False

    set = remove = remove_all = dump = get
