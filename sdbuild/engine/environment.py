"""What stage processes find in their environment."""

from __future__ import annotations

import os
import re
import sysconfig
from pathlib import Path

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# glibc keeps what big tensors leave behind, in one arena for each thread, until a process is twice its size. With these
# every block from 1 MiB on is mapped by itself and goes back to the system when it is freed. A fixed threshold also fixes
# the one for trimming, at 128 kB: small arrays then cost a system call each (a third of a stage's time, measured).
_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}

_TOKEN = re.compile(r"(HF|HUGGING_?FACE)(_?HUB)?_.*TOKEN")
"""The variables that hold a token of the hub: its own, older ones, those of other tools."""

_PACKAGE = Path(__file__).resolve().parents[1]


def stage_environment(jobs: int, *, online: bool = False) -> dict[str, str]:
    """The environment of a stage when ``jobs`` of them share the machine; what the user set stays.

    But only a stage that is ``online``, as it fetches models, is given the hub's token; the libraries of the others are kept
    from asking the hub for anything.
    """
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    defaults = _MEMORY | dict.fromkeys(_THREADS, threads)
    environment = defaults | os.environ
    if not online:
        environment = {name: value for name, value in environment.items() if not _TOKEN.fullmatch(name)}
        environment["HF_HUB_OFFLINE"] = "1"
    parent = _PACKAGE.parent
    if parent != Path(sysconfig.get_path("purelib")):  # a checkout, maybe not installed
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(parent), os.environ.get("PYTHONPATH"))))
    return environment
