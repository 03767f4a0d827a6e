"""What a server of trace imports."""

import os
import subprocess
import sys
from pathlib import Path

_WARM = """
import sys
from sdbuild.modeling import components
from sdbuild.stages import trace
trace.warm()
assert {"diffusers", "transformers", "torch"} <= sys.modules.keys()
last = components.find("smooth")
assert not last.FOUND_SCIPY
assert last.HAS_SCIPY
"""
_COMPONENT = """
import sys

FOUND_SCIPY = "scipy" in sys.modules
try:
    import scipy
except ImportError:
    scipy = None
HAS_SCIPY = scipy is not None
"""


def test_the_libraries_are_imported_without_scipy_which_extensions_may_want(tmp_path: Path) -> None:
    folder = tmp_path / "modeling/components"
    folder.mkdir(parents=True)
    (folder / "smooth.py").write_text(_COMPONENT)
    subprocess.run([sys.executable, "-c", _WARM], env={**os.environ, "SDBUILD_EXTENSIONS": str(tmp_path)}, check=True)
