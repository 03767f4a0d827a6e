"""Messages compared with files beside them.

`SDBUILD_UPDATE_SNAPSHOTS=1 pytest tests/recipe` writes the files anew; read the difference before committing it.
"""

import os
from pathlib import Path


def check(message: str, expected: Path) -> None:
    text = message + "\n"
    if os.environ.get("SDBUILD_UPDATE_SNAPSHOTS"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
