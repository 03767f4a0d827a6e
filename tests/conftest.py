"""What holds for all tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole builds first: they take longest, and the other processors have all the rest to do meanwhile."""
    items.sort(key=lambda item: "test_end_to_end" not in item.nodeid)
