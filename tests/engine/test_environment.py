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
    monkeypatch.setenv("HF_HOME", "/models")
    found = stage_environment(2)
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"], found["HF_HOME"]) == ("3", "2", "/models")


TOKENS = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
    "HUGGINGFACE_TOKEN",
    "HUGGINGFACEHUB_API_TOKEN",
)


def test_only_stages_that_fetch_are_given_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOKENS:
        monkeypatch.setenv(name, "secret")
    assert "secret" not in stage_environment(1).values()
    found = stage_environment(1, online=True)
    assert {name for name, value in found.items() if value == "secret"} == set(TOKENS)


def test_only_stages_that_fetch_may_ask_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert stage_environment(1)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in stage_environment(1, online=True)


def test_a_checkout_is_importable_and_an_installed_package_needs_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    root = Path(environment.__file__).resolve().parents[2]
    assert stage_environment(1)["PYTHONPATH"] == f"{root}{os.pathsep}/mine"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))
    assert stage_environment(1)["PYTHONPATH"] == "/mine"
