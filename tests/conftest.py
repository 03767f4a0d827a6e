"""What holds for all tests."""

import os

import pytest

from tests.once import share

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # there is a worker for each processor: more threads would only be in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All workers of a run have one folder for what is made once."""
    base = tmp_path_factory.getbasetemp()
    share(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole builds first: they take longest, and the other processors have all the rest to do meanwhile."""
    items.sort(key=lambda item: "test_end_to_end" not in item.nodeid)
