"""The extensions of tests: a folder of toys for each kind of thing that may be added to sdbuild from outside."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from sdbuild.extensions import VARIABLE

ROOT = Path(__file__).parents[1]
FAMILIES, SOURCES, STAGES, STEPS = (
    ROOT / "tests" / room / "toys" for room in ("families", "sources", "stages", "compress")
)
ALL = (FAMILIES, SOURCES, STAGES, STEPS)


def python(
    extensions: Iterable[Path], *command: str, cwd: Path = ROOT, **extra: str
) -> subprocess.CompletedProcess[str]:
    """A program of Python's that finds what is in these folders beside what sdbuild has itself."""
    named = os.pathsep.join(map(str, extensions))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: named, **extra}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
