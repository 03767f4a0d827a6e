"""The matrix of a family, built once for all tests of its class."""

from pathlib import Path

import pytest
import torch
import yaml

from sdbuild.plan import plan
from sdbuild.recipe import Recipe, load_recipe
from tests.execute import execute
from tests.matrix.cases import recipe
from tests.matrix.models import save


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every variant of the class by its ``name``."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", metafunc.cls.variants)


@pytest.fixture(scope="class")
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recipe]:
    """The recipe's variants, by name; its model lies beside it."""
    folder = tmp_path_factory.mktemp("matrix")
    save(request.cls.model, folder / "model")
    case = request.cls
    (folder / "matrix.yaml").write_text(yaml.safe_dump(recipe(case.model, case.batch, case.system, case.variants)))
    return {str(each.variant): each for each in load_recipe(folder / "matrix.yaml").recipes}


@pytest.fixture(scope="class")
def bundles(loaded: dict[str, Recipe]) -> dict[str, Path]:
    """The finished bundles, by variant: each one is verified and keeps the contract, or a stage has failed."""
    torch.set_num_threads(1)
    graph = plan(loaded.values())
    made = execute(graph, next(iter(loaded.values())).path.parent / "artifacts")
    return {str(build.variant): made[build.result] for build in graph.builds}
