"""What an extension is, what of it is in keys, and what is refused."""

import importlib
import os
from pathlib import Path

import pytest

import sdbuild
from sdbuild import extensions
from sdbuild.errors import UserError
from sdbuild.job import Found, stage_of
from sdbuild.jobs.compress import Compress
from sdbuild.jobs.config import SourceFacts
from sdbuild.jobs.download import Download
from sdbuild.overlay import Layer, code_of
from sdbuild.plan import Node, Part, plan
from sdbuild.recipe import find_recipe, load_recipe
from tests.extensions import FAMILIES, ROOT, STAGES, python


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a component."""
    folder = tmp_path / "mine"
    (folder / "modeling" / "components").mkdir(parents=True)
    (folder / "modeling" / "components" / "mine.py").write_text("first")
    monkeypatch.setattr(sdbuild, "__path__", [*sdbuild.__path__, str(folder)])
    return folder


@pytest.mark.parametrize("package", sorted(set(extensions.OPEN) - {"pipelines"}))
def test_what_is_found_by_listing_is_found_in_extensions(package: str) -> None:
    assert list(importlib.import_module(f"sdbuild.{package}").__path__) == extensions.folders(package)


def test_docs_name_every_folder() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text[text.index("## To add something") : text.index("## Processes")]
    assert all(
        f"`{package.replace('.', '/')}/NAME.{'yaml' if package == 'pipelines' else 'py'}`" in table
        for package in extensions.OPEN
    )


def test_only_what_a_job_uses_is_asked_for(extension: Path) -> None:
    assert list(extensions.outside(["modeling.components.mine"])) == ["modeling/components/mine.py"]
    assert list(extensions.outside(["modeling.components"])) == ["modeling/components"]
    assert extensions.outside(["modeling.components.unet", "verify.originals.mine"]) == {}


def test_all_of_an_extension_is_in_its_digest(extension: Path) -> None:
    def digest() -> str:
        extensions._read.cache_clear()
        return extensions.outside(["modeling.components.mine"])["modeling/components/mine.py"].digest

    found = [digest()]
    (extension / "helpers.py").write_text("other")
    found.append(digest())
    (extension / "helpers.py").rename(extension / "help.py")
    found.append(digest())
    (extension / "linked").symlink_to(extension)  # a loop, and nothing new
    (extension / ".git").mkdir()
    (extension / ".git" / "HEAD").write_text("ref")
    (extension / "__pycache__").mkdir()
    (extension / "__pycache__" / "mine.pyc").touch()
    assert digest() == found[-1]
    (extension / "modeling" / "components" / "mine.py").write_text("other")
    found.append(digest())
    assert len(set(found)) == 4
    (extension / "gone.py").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"gone.py: the extension can't be read: No such file"):
        digest()


def test_jobs_name_the_code_that_may_be_an_extensions() -> None:
    (recipe,) = load_recipe(find_recipe("shapes", ROOT)).recipes
    used = {name: set(stage_of(node.job).code_for(node.job)) for name, node in plan([recipe]).tasks.items()}
    assert used["trace:unet"] == {"jobs.trace", "stages.trace", "modeling.components.unet"}
    compress = Compress(steps=({"thin": {}},), versions={"thin": 1}, tools=(), package=Found(ROOT))
    assert set(stage_of(compress).code_for(compress)) == {"jobs.compress", "stages.compress", "compress.steps.thin"}
    assert used["bundle"] == {"jobs.bundle", "stages.bundle", "bundle.contracts.stable_diffusion"}
    assert used["config"] == {"jobs.config", "stages.config", "sources.builtin"}
    assert used["download:unet"] == {"jobs.download", "stages.download", "sources.builtin"}
    assert used["convert:unet"] == {"jobs.convert", "stages.convert"}
    layer = {"mine": {"one": Layer(files=Found(ROOT))}}
    assert code_of(layer) == ["modeling.overlays.mine", "modeling.adapters"]


def test_sdbuilds_own_code_is_in_no_key(extension: Path) -> None:
    from sdbuild.plan import ingredients

    source = Node(Download(source=SourceFacts(kind="builtin", id="shapes"), files=Part(Node(object()), "x")))
    assert "extensions" not in ingredients(source, [""])


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["/nowhere"], "no folder /nowhere; name folders"),
        ([str(ROOT / "docs")], "docs has none of the folders that an extension may have: bundle/contracts, "),
        (
            [str(STAGES), str(STAGES)],
            f"{STAGES}/engine/commands/hello.py is called like {STAGES}/engine/commands/hello.py",
        ),
        (["taken"], "taken/jobs/trace.py is called like sdbuild's own jobs/trace; give it another name"),
        (["family"], "family/pipelines/sd1.yaml is called like sdbuild's own pipelines/sd1; give it another name"),
    ],
)
def test_what_would_be_ignored_is_refused(
    named: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("taken/jobs/trace.py", "family/pipelines/sd1.yaml"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    monkeypatch.setattr(sdbuild, "__path__", [*sdbuild.__path__, *(str(tmp_path / name) for name in named)])
    with pytest.raises(UserError) as refused:
        extensions.check()
    assert str(refused.value).startswith("SDBUILD_EXTENSIONS: ")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a/helpers.py", "b/helpers.py"], "b/helpers.py is called like {}/a/helpers.py; give it another name"),
        (["a/arrays.py"], "a/arrays.py is called like sdbuild's own arrays; give it another name"),
        (["a/recipe/steps/dup/__init__.py", "b/recipe/steps/dup.py"], "b/recipe/steps/dup.py is called like {}/a/"),
        (
            ["a/recipe/steps/palettize/__init__.py"],
            "a/recipe/steps/palettize/__init__.py is called like sdbuild's own recipe/steps/palettize; give it another name",
        ),
    ],
)
def test_what_can_be_imported_has_one_name(
    files: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("a/recipe/steps/one.py", "a/__init__.py", "b/recipe/steps/two.py", "b/__init__.py", *files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.setattr(sdbuild, "__path__", [*sdbuild.__path__, str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(UserError) as refused:
        extensions.check()
    assert message.format(tmp_path) in str(refused.value)
    for file in files:
        (tmp_path / file).unlink()
    extensions.check()


def test_an_edit_that_keeps_size_and_time_is_what_runs(tmp_path: Path) -> None:
    """Python's own cache would give the code of before."""
    file = tmp_path / "recipe/steps/factor.py"
    file.parent.mkdir(parents=True)
    found = []
    for number in (1, 2):
        file.write_text(f"STEP = {number}")
        os.utime(file, (1_600_000_000, 1_600_000_000))
        found.append(python([tmp_path], "-c", "from sdbuild.recipe.steps import factor; print(factor.STEP)").stdout)
    assert found == ["1\n", "2\n"]


def test_what_is_no_file_is_refused(extension: Path) -> None:
    os.mkfifo(extension / "pipe")
    extensions._read.cache_clear()
    with pytest.raises(UserError, match=r"pipe: the extension can't be read: this is no file; remove it"):
        extensions.outside(["modeling.components.mine"])


def test_the_variable_names_folders_from_where_the_user_stands(tmp_path: Path) -> None:
    wrong = python([Path("nowhere")], "-m", "sdbuild", "list", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.split(";")[0]) == (
        1,
        f"error: SDBUILD_EXTENSIONS: no folder {tmp_path}/nowhere",
    )
    shown = python([Path(os.path.relpath(FAMILIES, tmp_path)), STAGES], "-m", "sdbuild", "help", cwd=tmp_path)
    assert "\n  hello " in shown.stdout
