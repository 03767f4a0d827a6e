"""Files that no recipe is like: refused at once, whatever their size and form."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sdbuild.recipe import load_recipe
from sdbuild.recipe.problems import RecipeError

DEEP = "nested more than 30 levels deep"
MANY = "more than 50 problems in odd.yaml; these are 50 of them"
ODD = {
    "brackets, not closed": ("[" * 5_000, DEEP),
    "brackets": (f"model: {'[' * 5_000}{']' * 5_000}", DEEP),
    "braces": ("{" * 100_000, DEEP),
    "one on each line": ("[\n" * 5_000, DEEP),
    "blocks": ("".join(f"{' ' * level}-\n" for level in range(400)), DEEP),
    "dashes": ("- " * 5_000, DEEP),
    "a long list, not closed": (f"a: [{'b, ' * 30_000}\nc: d", "this list is not closed"),
    "a mistake after thousands of lines": (
        "".join(f"k{i}: v\n" for i in range(8_000)) + "a: b: c",
        "':' is not allowed",
    ),
    "one key again and again": ("a: 1\n" * 20_000, MANY),
    "thousands of unknown keys": ("".join(f"k{i}: &a{i} x\n" for i in range(5_000)), MANY),
    "all on one line": (f"{{{','.join(f'a{i}: b' for i in range(8_000))}}}", MANY),
}


@pytest.fixture(autouse=True)
def _small_heap() -> Iterator[None]:
    """What other tests left in memory is not for the garbage collector to walk through again and again meanwhile."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def a_while() -> float:
    """What PyYAML's reader in Python takes for a list of 10,000 words: some 0.4 s of the processor."""
    started = time.process_time()
    yaml.load(f"[{'b, ' * 10_000}]", yaml.SafeLoader)
    return time.process_time() - started


@pytest.mark.parametrize("form", ODD)
def test_odd_files_are_refused_in_the_time_of_a_long_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_while: float, form: str
) -> None:
    text, expected = ODD[form]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.yaml").write_text(text)
    started = time.process_time()
    with pytest.raises(RecipeError) as refused:
        load_recipe(tmp_path / "odd.yaml")
    assert time.process_time() - started < 2 * a_while
    assert expected in str(refused.value) and len(str(refused.value)) < 30_000
