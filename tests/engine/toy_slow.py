"""The toy's stage in a module that servers have trouble with: it takes for ever to import, starts a thread, or fails."""

import os
import sys
import threading
from pathlib import Path

from tests.engine.toy_stage import run  # noqa: F401

if importing := os.environ.get("TOY_IMPORTING"):
    Path(importing).write_text(str(os.getpid()))
    threading.Event().wait()
if os.environ.get("TOY_ERROR") and "sdbuild.stages.server" in sys.orig_argv:
    raise ImportError("not here")
if os.environ.get("TOY_THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def warm() -> None:
    if place := os.environ.get("TOY_WARM"):
        with Path(place).open("a") as file:
            file.write(f"{os.getpid()}\n")
