"""Which file `config=` means, and what is said when there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdbuild.recipe import RecipeError, find_recipe, load_recipe
from sdbuild.recipe.files import configs_folder, pipelines_folder


def said(text: str, cwd: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        find_recipe(text, cwd)
    return str(caught.value)


def test_default_is_shapes(tmp_path: Path) -> None:
    (tmp_path / "shapes.yaml").write_text("another file of that name")
    assert find_recipe(None, tmp_path) == configs_folder() / "shapes.yaml"


@pytest.mark.parametrize("text", ["sdxl-ios", "sdxl-ios.yaml"])
def test_shipped_recipes_are_known_by_name(tmp_path: Path, text: str) -> None:
    assert find_recipe(text, tmp_path) == configs_folder() / "sdxl-ios.yaml"


@pytest.mark.parametrize("text", ["mine", "mine.yaml", "./mine", "sub/other", "sub/other.yml", "sub/../mine.yaml"])
def test_path_from_where_the_user_stands(tmp_path: Path, text: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "sub" / "other.yml").touch()
    assert find_recipe(text, tmp_path).resolve().name in ("mine.yaml", "other.yml")
    assert find_recipe(str(tmp_path / "mine"), Path("/")) == tmp_path / "mine.yaml"


def test_the_users_file_comes_before_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "shapes.yaml").touch()
    assert find_recipe("shapes", tmp_path) == tmp_path / "shapes.yaml"


def test_a_folder_of_that_name_does_not_hide_the_shipped_recipe(tmp_path: Path) -> None:
    (tmp_path / "shapes").mkdir()
    assert find_recipe("shapes", tmp_path) == configs_folder() / "shapes.yaml"


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").touch()
    assert find_recipe("~/mine.yaml", Path("/")) == tmp_path / "mine.yaml"


def test_misspelt(tmp_path: Path) -> None:
    (tmp_path / "landscape.yaml").touch()
    message = said("sdxl-iso.yaml", tmp_path)
    assert "No recipe 'sdxl-iso.yaml'" in message
    assert "Did you mean 'sdxl-ios'?" in message
    assert "shapes, shapes-bits" in message
    assert "Did you mean 'landscape'?" in said("./landscpae", tmp_path)


@pytest.mark.parametrize("text", ["", ".", "sub"])
def test_a_folder_is_not_a_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one.yaml").touch()
    assert "is a folder" in said(text, tmp_path)
    assert "Recipes in it: one." in said("sub", tmp_path)


@pytest.mark.parametrize("text", ["x\0y", "n" * 5000, "~nobody-of-that-name/x.yaml"])
def test_impossible_names(tmp_path: Path, text: str) -> None:
    assert said(text, tmp_path)


def test_missing_file_tells_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sdxl-ios.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path("sdx-ios.yaml"))
    assert str(caught.value) == ("sdx-ios.yaml: no such file\n  = did you mean 'sdxl-ios'?\n  = there is: sdxl-ios")


def test_unreadable_things(tmp_path: Path) -> None:
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 300_000)
    wide = tmp_path / "wide.yaml"
    wide.write_text("name: x\n", encoding="utf-16")
    expected = {
        folder: "is a folder",
        loop: "can't be read",
        pipe: "not a regular file",
        large: "256 KB",
        wide: "UTF-16",
    }
    for path, words in expected.items():
        with pytest.raises(RecipeError, match=words):
            load_recipe(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.touch(mode=0)
    with pytest.raises(RecipeError, match="Permission denied"):
        load_recipe(path)


def test_installed_wheel_carries_recipes_and_families(tmp_path: Path) -> None:
    """The layout of a wheel: no checkout beside the package, but copies of both folders inside it."""
    package = tmp_path / "sdbuild"
    installed = Path(sys.modules["sdbuild"].__path__[0])
    for room in ("recipe", "modeling", "bundle"):  # of the last two it lists folders, and imports nothing
        shutil.copytree(installed / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    for module in installed.glob("*.py"):
        shutil.copy(module, package)
    shutil.copytree(configs_folder(), package / "_data" / "configs")
    shutil.copytree(pipelines_folder(), package / "_data" / "pipelines")
    code = (
        "from pathlib import Path; from sdbuild.recipe import find_recipe, load_recipe;"
        "path = find_recipe('sdxl-ios', Path.cwd()); print(path, load_recipe(path).recipes[0].family.title)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"{package}/_data/configs/sdxl-ios.yaml Stable Diffusion XL"


def test_what_is_there_and_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "other.yaml")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    for text, what in {
        "pipe": "a pipe",
        "other": "a pipe",
        "loop": "a link that leads back to itself",
        "dangling": "a link to what is not there",
        "/dev/null": "a device",
    }.items():
        assert said(text, tmp_path) == f"config={text} is {what}, and a recipe is a regular file"
    assert said("n" * 5000, tmp_path) == f"config='{'n' * 79}…' can't be looked up: File name too long"
    os.mkfifo(tmp_path / "shapes")
    assert find_recipe("shapes", tmp_path) == configs_folder() / "shapes.yaml"
