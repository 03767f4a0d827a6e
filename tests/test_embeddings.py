"""docs/embeddings.md, command by command, and what the bundle's images show."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sdbuild.generate import Pipeline
from sdbuild.generate.tokenizer import Tokenizer
from sdbuild.recipe import load_recipe
from sdbuild.shapes.scenes import Scene
from sdbuild.shapes.score import tally
from tests.matrix.models import SD1, SHAPES, save
from tests.sources.prompts import prompts

pytestmark = pytest.mark.slow  # a minute and a half; tests/modeling/test_learning.py has its parts

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs/embeddings.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command of the document was run."""
    folder = tmp_path_factory.mktemp("embeddings")
    environment = {**os.environ, "SDBUILD_STORE": str(folder / "store"), "COLUMNS": "200"}
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line)
        assert words[0] == "doit"
        done = subprocess.run(
            [sys.executable, "-m", "sdbuild", *words[1:]], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_commands_make_images_of_what_was_learned(built: Path) -> None:
    import numpy as np
    from PIL import Image

    files = sorted((built / "build/images/shapes-embedding").glob("*.png"))
    assert len(files) == len("".join(blocks("sh")).splitlines()) - 1
    images = np.stack([np.asarray(Image.open(file).convert("RGB"), np.float32) / 255 for file in files])
    assert tally(images, [Scene("large", "purple", "cross", "orange")] * len(files))["all"] == 1


def test_the_app_would_show_it_before_backgrounds_that_it_was_not_learned_with(built: Path) -> None:
    import numpy as np

    pipeline = Pipeline.open(built / "build/shapes-embedding")
    scenes = [Scene("large", "purple", "cross", background) for background in ("blue", "orange", "white")]

    def score(word: str) -> float:
        images = [
            pipeline.generate(f"a {word} on a {scene.background} background", seed=7, steps=20, guidance=2).pixels
            for scene in scenes
        ]
        return tally(np.stack(images).astype(np.float32) / 255, scenes)["all"]

    assert (score("grezquz"), score("zonk")) == (1, 0)


def test_the_manifest_names_token_numbers_and_origin(built: Path) -> None:
    manifest = json.loads((built / "build/shapes-embedding/manifest.json").read_text())
    (found,) = manifest["embeddings"]
    assert (found["token"], found["ids"]) == ("grezquz", [653, 654])
    assert found["source"] | {"sha256": ""} == {
        "builtin": "shapes",
        "file": "embeddings/grezquz.safetensors",
        "sha256": "",
    }


def test_what_ships_reads_other_prompts_as_before(built: Path) -> None:
    before, after = Tokenizer.read(SHAPES / "tokenizer"), Tokenizer.read(built / "build/shapes-embedding/Resources")
    for prompt in prompts(1000):
        if not any(part in prompt.lower() for part in ("grez", "quz")):
            assert before(prompt, 77) == after(prompt, 77)
    assert after("a grezquz", 77).ids[2:4] == (653, 654)


def test_it_was_verified_with_the_token_in_the_prompt(built: Path) -> None:
    found = json.loads((built / "build/shapes-embedding/verify.json").read_text())
    assert found["image"]["prompt"] == "a large red circle on a blue background, grezquz"


def test_the_recipe_of_the_document_is_one(tmp_path: Path) -> None:
    (recipe,) = blocks("yaml")
    save(SD1, tmp_path / "portraits")
    (tmp_path / "style.safetensors").write_bytes(b"")
    (tmp_path / "styled.yaml").write_text(recipe)
    (loaded,) = load_recipe(tmp_path / "styled.yaml").recipes
    assert [each.token for each in loaded.model.embeddings] == ["stylex"]
