"""A kind of source, added from a folder of these tests: two files, as each of sdbuild's own is."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.extensions import ROOT, SOURCES, python


def sdbuild(
    tmp_path: Path, *words: str, source: str = "kept:mine", toys: bool = True
) -> subprocess.CompletedProcess[str]:
    """What the command line prints about a recipe with this source, with or without the toy."""
    (tmp_path / "x.yaml").write_text(
        f"name: x\npipeline: sd1\nmodel: {{source: '{source}', revision: null}}\ncomponents: [text_encoder]\n"
        "target: {os: iOS17}\n"
    )
    extra = {"TOY_MODELS": str(tmp_path), "SDBUILD_STORE": str(tmp_path / "store")}
    return python([SOURCES] if toys else [], "-m", "sdbuild", *words, "config=x.yaml", cwd=tmp_path, **extra)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model under the toy's name."""
    return shutil.copytree(ROOT / "sdbuild" / "shapes" / "model", tmp_path / "mine")


def test_files_of_another_kind_of_source_are_built_from_and_watched(tmp_path: Path, model: Path) -> None:
    done = sdbuild(tmp_path, "download:text_encoder")
    assert done.returncode == 0, done.stdout + done.stderr
    (fetched,) = (tmp_path / "store" / "artifacts" / "download").glob("*/model.safetensors")
    assert fetched.read_bytes() == (model / "text_encoder" / "model.safetensors").read_bytes()
    (stamp,) = (tmp_path / "store" / "artifacts" / "config").glob("*.json")
    assert json.loads(stamp.read_text())["ingredients"]["parameters"]["source"]["kind"] == "kept"
    os.utime(model / "text_encoder" / "config.json", ns=(1, 1))
    why = sdbuild(tmp_path, "why", "task=config")
    assert "text_encoder/config.json was edited" in why.stdout


def test_what_speaks_against_it_is_said(tmp_path: Path) -> None:
    refused = sdbuild(tmp_path, "validate", source="kept:none")
    assert "x.yaml:3:17: nobody keeps a model 'none'" in refused.stderr


def test_without_its_files_there_is_no_such_kind(tmp_path: Path, model: Path) -> None:
    refused = sdbuild(tmp_path, "validate", toys=False)
    assert "'kept:mine' is neither a hub id, nor a folder, nor a built-in model" in refused.stderr
