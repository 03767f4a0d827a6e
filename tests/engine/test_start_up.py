"""What a command line imports: each module costs whoever waits for an answer, even where nothing is to be done."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "numpy", "coremltools", "diffusers", "transformers", "safetensors", "huggingface_hub", "numba", "PIL"}
"""Of stages."""
SELDOM = {
    "argparse",
    "asyncio",
    "concurrent.futures",
    "difflib",
    "doit",
    "email.parser",
    "multiprocessing",
    "rich",
    "sqlite3",
}
"""Of builds that run something, of messages, and of displays."""
READING = {"pydantic", "yaml", "importlib.metadata"}
"""Of those who read recipes."""
STARTING = {
    "subprocess",
    "sdbuild.engine.making",
    "sdbuild.engine.process",
    "sdbuild.engine.servers",
    "sdbuild.engine.scheduling",
}
"""Of builds that start processes."""


def test_plugins_of_pydantic_are_not_looked_for(tmp_path: Path) -> None:
    """They would be found among all that is installed, and may do anything."""
    about = tmp_path / "spy-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: spy\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[pydantic]\nspy = spy:plugin\n")
    (tmp_path / "spy.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'w').close()\nplugin = None\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[2]), str(tmp_path)))}
    command = [sys.executable, "-m", "sdbuild", "validate", "shapes"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert not (tmp_path / "seen").exists()
    subprocess.run(command, cwd=tmp_path, env=environment | {"PYDANTIC_DISABLE_PLUGINS": "others"}, check=False)
    assert (tmp_path / "seen").exists()  # what the user says counts


def imported(here: Path, *words: str) -> set[str]:
    """The modules that a command line has imported when it ends, by Python's own account."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sdbuild", *words],
        cwd=here,
        env={**os.environ, "SDBUILD_STORE": str(here / "store"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode in (0, 10), result.stderr
    found = set(re.findall(r"^import time: *[0-9]+ \| *[0-9]+ \| *([^ \n]+)$", result.stderr, re.MULTILINE))
    assert "sdbuild.program" in found
    return found


@pytest.mark.parametrize("line", ["help", "help build", "--help", "list", "completion bash", "completion line=bui"])
def test_what_needs_no_recipe_reads_none(tmp_path: Path, line: str) -> None:
    assert not imported(tmp_path, *line.split()) & (HEAVY | SELDOM | READING | STARTING)


@pytest.mark.parametrize("line", ["validate shapes", "plan shapes", "why shapes", "devices"])
def test_what_runs_nothing_imports_nothing_to_run_it(tmp_path: Path, line: str) -> None:
    found = imported(tmp_path, *line.split())
    assert "pydantic" in found and not found & (HEAVY | SELDOM | STARTING)
