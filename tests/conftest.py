"""What holds for all tests."""

import os

import pytest

from tests.once import share


@pytest.fixture(autouse=True, scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All workers of a run have one folder for what is made once."""
    base = tmp_path_factory.getbasetemp()
    share(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole builds first: they take longest, and the other processors have all the rest to do meanwhile."""
    items.sort(key=lambda item: "test_end_to_end" not in item.nodeid)
