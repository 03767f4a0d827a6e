"""With this folder in PYTHONPATH, Python finds the source in it beside sdbuild's own."""

from pathlib import Path

import sdbuild

sdbuild.__path__.append(str(Path(__file__).parent))
