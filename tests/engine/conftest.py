"""Builds of the toy graph, as processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.toy import main

ROOT = Path(__file__).resolve().parents[2]


class Toy:
    """A folder, a store and a log for builds of the toy graph."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.here = folder / "here"
        self.store = folder / "store"
        self.log = folder / "log"
        self.here.mkdir()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "tests.engine.toy", str(self.here), *words]

    def environment(self, changes: dict[str, Any] | None = None, **extra: str) -> dict[str, str]:
        own = {"SDBUILD_STORE": str(self.store), "TOY_LOG": str(self.log), "TOY": json.dumps(changes or {})}
        return {**os.environ, **own, **extra}

    def start(self, *words: str, changes: dict[str, Any] | None = None, **extra: str) -> subprocess.Popen[str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(*words), cwd=ROOT, env=self.environment(changes, **extra), **streams)

    def build(
        self, *words: str, changes: dict[str, Any] | None = None, prefix: tuple[str, ...] = (), **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, *self.command(*words)],
            cwd=ROOT,
            env=self.environment(changes, **extra),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def run(self, *words: str, changes: dict[str, Any] | None = None) -> int:
        """Build within this process, which is quicker; the exit status."""
        with self._patch.context() as patch:
            for name, value in self.environment(changes).items():
                patch.setenv(name, value)
            return main(str(self.here), *words)

    def ran(self) -> list[str]:
        """The stages that ran since the last call, sorted."""
        names = sorted(self.log.read_text().split()) if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return names

    @property
    def results(self) -> Path:
        return self.here / "build" / "toy"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    return Toy(tmp_path, monkeypatch)


@pytest.fixture
def make_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Toy]:
    def make(name: str) -> Toy:
        (tmp_path / name).mkdir()
        return Toy(tmp_path / name, monkeypatch)

    return make
