"""Machine code that is kept between processes, and what becomes of it where it is damaged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from sdbuild.compiled import compiled

@compiled
def twice(number):
    return number * 2

assert twice(21) == 42
print("kept" if twice.stats.cache_hits else "compiled")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def run(program: Path, cache: Path) -> str:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    ended = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_machine_code_is_compiled_anew(program: Path, tmp_path: Path, suffix: str) -> None:
    cache = tmp_path / "cache"
    assert [run(program, cache) for _ in range(2)] == ["compiled", "kept"]
    (damaged,) = cache.rglob(f"*.{suffix}")
    os.truncate(damaged, 40)
    assert [run(program, cache) for _ in range(2)] == ["compiled", "kept"]


def test_a_full_disk_costs_time_alone(program: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    script = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); runpy.run_path('{program}')"
    (tmp_path / "limited.py").write_text(script)
    assert run(tmp_path / "limited.py", cache) == "compiled"
    assert run(program, cache) == "compiled"
