"""What README.md and docs/ say to type: it is taken out of them, and tried."""

import re
import shlex
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sdbuild.engine.arguments import parse
from sdbuild.engine.dodo import own_arguments
from sdbuild.recipe import load_recipe
from tests.sources.make_models import sd1, write

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[Any]:
    """The blocks of a language, each with the place that it is from."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in _BLOCK.finditer(text):
            if match[2] == language:
                line = text[: match.start()].count("\n") + 1
                found.append(pytest.param(textwrap.dedent(match[3]), id=f"{path.name}:{line}"))
    return found


@pytest.mark.parametrize("code", snippets("python"))
def test_python_runs_as_it_stands(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build/shapes").symlink_to(whole)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    if "noise" in names:
        assert names["noise"].shape == names["unet"].inputs["sample"].shape
    else:
        assert (tmp_path / "circle.png").stat().st_size > 1_000


@pytest.mark.parametrize("code", snippets("sh"))
def test_command_lines_are_understood(code: str) -> None:
    for line in re.split(r"\n|&&", code.replace("\\\n", " ")):
        words = shlex.split(line, comments=True)
        if words[:1] in (["doit"], ["sdbuild"]):
            parse(own_arguments(words[1:]))


def test_the_recipe_of_the_readme_is_valid(tmp_path: Path) -> None:
    (recipe,) = [param.values[0] for param in snippets("yaml") if "README" in str(param.id)]
    (tmp_path / "portraits").mkdir()
    write(sd1(), tmp_path / "portraits")
    (tmp_path / "portraits.yaml").write_text(str(recipe))
    assert load_recipe(tmp_path / "portraits.yaml").recipes[0].name == "portraits-ios"


def test_the_readme_names_the_versions_of_torch_that_are_let_in() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch,) = [each for each in project["dependencies"] if each.startswith("torch")]
    assert f'pip install "{torch}" --index-url https://download.pytorch.org/whl/cpu' in (ROOT / "README.md").read_text()
