"""The command ``graph``, on the graph of a real component."""

from pathlib import Path

import pytest

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.commands.graph import run
from sdbuild.errors import UserError
from sdbuild.plan import plan
from sdbuild.recipe import load_recipe
from sdbuild.store import open_store
from tests.engine.fakes import pretend_to_build

RECIPE = "name: mine\npipeline: sd1\nmodel: {source: builtin:shapes}\ntarget: {os: macOS14}\nresolution: 64x64\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "store"))
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path


def asked(here: Path, program: str = "sdbuild", **variables: str) -> str:
    return run(
        Arguments("graph", variables={"config": str(here / "mine.yaml"), **variables}, program=program), here
    ).text


def test_a_graph_is_that_of_the_trace_or_of_what_is_made_from_it(here: Path) -> None:
    with pytest.raises(UserError, match=r"^trace:unet has not been built yet; run: sdbuild trace:unet config="):
        asked(here, task="trace:unet")
    with pytest.raises(UserError, match=r"run: doit trace:unet config="):
        asked(here, "doit", task="trace:unet")
    graph = plan(load_recipe(here / "mine.yaml").recipes)
    pretend_to_build(graph, open_store(), here)
    lines = "input %x: float32[2, 4]\n%unet: float32[2, 4] = aten.relu.default(%x)\noutput %unet"
    assert asked(here, task="trace:unet") == asked(here, task="convert:unet") == lines


@pytest.mark.parametrize("variables", [{}, {"task": "bundle"}, {"task": "download:unet"}])
def test_a_task_without_a_graph_is_answered_with_those_that_have_one(here: Path, variables: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"trace:text_encoder, trace:unet, trace:vae_decoder"):
        asked(here, **variables)
