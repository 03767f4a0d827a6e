"""What stage processes find in their environment."""

import os
import sysconfig
from pathlib import Path

import pytest

from sdbuild.engine import environment
from sdbuild.engine.environment import stage_environment


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("jobs", "threads"), [(1, "4"), (2, "2"), (3, "1"), (9, "1")])
def test_stages_that_run_at_once_share_the_cores(jobs: int, threads: str) -> None:
    found = stage_environment(jobs)
    assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == threads
    assert found["MALLOC_ARENA_MAX"] == "2"


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("HF_TOKEN", "secret")
    found = stage_environment(2)
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"], found["HF_TOKEN"]) == ("3", "2", "secret")


def test_a_checkout_is_importable_and_an_installed_package_needs_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    root = Path(environment.__file__).resolve().parents[2]
    assert stage_environment(1)["PYTHONPATH"] == f"{root}{os.pathsep}/mine"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))
    assert stage_environment(1)["PYTHONPATH"] == "/mine"
