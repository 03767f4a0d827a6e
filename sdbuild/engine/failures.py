"""How a stage fails, and what to report of one whose process did not succeed."""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING

from sdbuild.errors import NO_MEMORY, Status, UserError, tells_of_no_memory
from sdbuild.store import Store, Workplace, explain
from sdbuild.store.errors import free_bytes, lacks_files

if TYPE_CHECKING:
    from sdbuild.engine.process import Outcome

_LAST_LINES = 12
_ABORTED = 127  # by the dynamic linker, where it can't go on
_FULL_BELOW = 1 << 20  # bytes; a library that could not write has its own words for it, or dies of SIGBUS


class DamagedInputsError(Exception):
    """What a stage reads is not what was made; it is condemned."""


class StageError(UserError):
    """A stage failed; the text does not name the task yet."""


def failure(outcome: Outcome, work: Workplace, store: Store) -> UserError:
    """One clear message, and where the full log is when there is more to know."""
    if outcome.error is not None:
        return outcome.error
    free = free_bytes(store.root)
    full_up = lacks_files(store.root) or (free is not None and free < _FULL_BELOW)
    if full_up and (full := explain(OSError(errno.ENOSPC, ""), store.root)):
        return full
    log = work.keep_log()
    if outcome.status == -signal.SIGKILL:
        return UserError(
            "killed by SIGKILL: most likely the system ran out of memory. Close other programs, or build fewer stages at once "
            "(-n 1), then run the same command again"
        )
    ending = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-_LAST_LINES:]
    if (outcome.status < 0 or outcome.status == _ABORTED) and any(map(tells_of_no_memory, ending)):
        return UserError(NO_MEMORY)
    killed = outcome.status < 0
    how = f"killed by {signal.Signals(-outcome.status).name}" if killed else "crashed: a bug in sdbuild"
    shown = "".join(f"\n    {line}" for line in ending)
    text = f"{how}; the end of its log:{shown}\n  the whole log: {log}"
    return UserError(text, status=Status.FAILED if killed else Status.FAULT)
