"""Colour of messages: where it is wanted, and what is coloured."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import ROOT
from tests.engine.test_commands import RECIPE

PLAIN = """\
error: mine.yaml:6:42: 'bits' can't be the number 5
  6 | compress: {unet: [{palettize: {bits: 5}}]}
    |                                      ^
    = allowed: 1, 2, 3, 4, 6, 8
"""


def validate(folder: Path, terminal: bool, **environment: str) -> str:
    """What a command prints of a recipe with an error, to a terminal or a pipe."""
    (folder / "mine.yaml").write_text(RECIPE.replace("bits: 6", "bits: 5"))
    own = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    own |= {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | environment
    ours, theirs = pty.openpty() if terminal else os.pipe()
    command = [sys.executable, "-m", "sdbuild", "validate", "mine.yaml"]
    assert subprocess.run(command, cwd=folder, env=own, stderr=theirs, stdout=subprocess.DEVNULL).returncode == 4
    os.close(theirs) if not terminal else None
    text = os.read(ours, 10_000).decode().replace("\r\n", "\n")
    os.close(ours)
    return text


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"FORCE_COLOR": "0"}, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_where_it_is_wanted(tmp_path: Path, terminal: bool, environment: dict[str, str], colour: bool) -> None:
    text = validate(tmp_path, terminal, **environment)
    place = "\x1b[1;31merror:\x1b[0m \x1b[1mmine.yaml:6:38:\x1b[0m 'bits'"
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == PLAIN.replace("6:42", "6:38")
    assert (place in text and "^\x1b[0m\n" in text) == colour and ("\x1b" in text) == colour
