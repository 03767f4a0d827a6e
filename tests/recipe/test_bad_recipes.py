"""Every message that a wrong recipe or family gives, word for word: bad/*.yaml and what bad/*.txt says of it."""

import re
from pathlib import Path

import pytest

from sdbuild.errors import UserError
from sdbuild.recipe import RecipeError, load_recipe
from sdbuild.recipe.family import load_family_file
from sdbuild.recipe.files import pipelines_folder
from tests.recipe.snapshots import check

HERE = Path(__file__).parent
BAD = sorted(HERE.glob("bad/*.yaml"))
WARNED = sorted(HERE.glob("warned/*.yaml"))
FAMILIES = sorted(HERE.glob("bad_families/*.yaml"))


def stem(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", BAD, ids=stem)
def test_bad_recipe(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path(path.name))
    assert isinstance(caught.value, UserError)
    check(str(caught.value), path.with_suffix(".txt"))


@pytest.mark.parametrize("path", WARNED, ids=stem)
def test_warning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    loaded = load_recipe(Path(path.name))
    assert loaded.recipes
    check("\n\n".join(loaded.warnings), path.with_suffix(".txt"))


@pytest.mark.parametrize("path", FAMILIES, ids=stem)
def test_bad_family(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(RecipeError) as caught:
        load_family_file(Path(path.name))
    check(str(caught.value), path.with_suffix(".txt"))


def test_a_family_whose_denoiser_predicts_nothing(tmp_path: Path) -> None:
    text = (pipelines_folder() / "sd1.yaml").read_text()
    silent = text.replace("name: sd1\n", "name: silent\n", 1).replace("        carries: noise\n", "", 1)
    (tmp_path / "silent.yaml").write_text(silent)
    with pytest.raises(RecipeError, match=r"silent.yaml:\d+:5: no output of this denoiser carries 'noise'\n.*outputs:"):
        load_family_file(tmp_path / "silent.yaml")


@pytest.mark.parametrize("path", [*BAD, *WARNED, *FAMILIES], ids=stem)
def test_carets_stand_under_what_the_position_names(path: Path) -> None:
    """The snapshots can't rot: line, column and caret of every block agree with the file itself."""
    source = path.read_text("utf-8-sig", errors="replace").split("\n")
    blocks = re.findall(
        rf"^{re.escape(path.name)}:(\d+):(\d+): .*\n  \1 \| ?(.*)\n +\| ( *)(\^+)$",
        path.with_suffix(".txt").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for line, column, shown, indent, caret in blocks:
        if shown.startswith("…") or not shown.isascii():
            continue  # cut, or with characters two columns wide
        assert len(indent) == int(column) - 1
        written = re.sub(r"[^ -~]", " ", source[int(line) - 1])
        marked = slice(len(indent), len(indent) + len(caret))
        assert shown[marked].rstrip() == written[marked].rstrip()


def test_a_family_like_another_with_null_under_a_misspelt_key(tmp_path: Path) -> None:
    (tmp_path / "sd1.yaml").write_text((pipelines_folder() / "sd1.yaml").read_text())
    (tmp_path / "own.yaml").write_text("schema: 1\nname: own\nlike: sd1\ntitle: Own\nrecogniton: null\n")
    with pytest.raises(RecipeError, match=r"own.yaml:5:1: unknown key 'recogniton'\n(.*\n)*.*did you mean 'recognise'"):
        load_family_file(tmp_path / "own.yaml")
