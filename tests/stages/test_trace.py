"""What a server of trace imports."""

import subprocess
import sys

_WARM = """
import sys
from sdbuild.stages import trace
trace.warm()
assert {"diffusers", "transformers", "torch"} <= sys.modules.keys()
assert "scipy" not in sys.modules
from scipy.optimize import linear_sum_assignment  # not hidden any more
"""


def test_the_libraries_are_imported_without_scipy() -> None:
    subprocess.run([sys.executable, "-c", _WARM], check=True)
