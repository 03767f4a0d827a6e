"""Whatever is written in the file, the answer is recipes or one clear error."""

import json
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbuild.recipe import RecipeError, load_recipe
from sdbuild.recipe.document import Mapping, parse, plain
from sdbuild.recipe.files import configs_folder

HERE = Path(__file__).parent
TEXTS = [path.read_bytes() for path in sorted([*configs_folder().glob("*.yaml"), *HERE.glob("bad/*.yaml")])]
WORDS = [
    *("null", "~", "[]", "{}", "''", "*a", "&a ", "<<: ", "- ", ": ", "? ", "!!int ", "\t", "\n", "\x00", "\x85"),
    *("010", "1_0", "1:30", ".inf", "1e5", "9" * 5000, "2024-99-99", "yes", '"\\ud800"', "日", "\U0001f600", "\r", "|"),
    *(
        "model",
        "unet",
        "compress",
        "variants:",
        "name",
        "iOS26",
        "512x512",
        "palettize",
        "~nobody/x",
        "/",
        "..",
        "a\\0b",
    ),
    *("512", "-1", "0", "99999999999999999999", "builtin:", "org/model", "%YAML 1.2", "---", "...", "#", "'", '"', "@"),
]
SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


def answer(path: Path) -> str:
    try:
        return "\n".join(load_recipe(path).warnings)
    except RecipeError as error:
        return str(error)


@SETTINGS
@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False), st.integers(1, 8))
def test_mutated_recipes(tmp_path: Path, text: bytes, chance: random.Random, edits: int) -> None:
    for _ in range(edits):
        at, to = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
        to = chance.choice((at, at + 1, at + 5, to))
        words = chance.choice(WORDS).encode()
        middle = chance.choice((b"", words, words, text[at:to] * 2, bytes([chance.randrange(256)])))
        text = text[:at] + middle + text[to:]
    path = tmp_path / "mutated.yaml"
    path.write_bytes(text)
    answer(path).encode("utf-8")  # and it can be printed


@SETTINGS
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(WORDS),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["name", "pipeline", "model", "source", "vae", "target", "os", "variants", "compress"]),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_any_structure(tmp_path: Path, data: object) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
    assert answer(path)


@SETTINGS
@given(
    st.recursive(
        st.booleans() | st.integers(-(10**17), 10**17) | st.text("abc: #-[]{}'\"\n", max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
        max_leaves=20,
    )
)
def test_tree_holds_what_was_written(data: object) -> None:
    tree, problems = parse(yaml.safe_dump({"key": data}, default_flow_style=None, allow_unicode=True))
    assert problems == []
    assert isinstance(tree, Mapping)

    def tuples(value: object) -> object:
        if isinstance(value, list):
            return tuple(tuples(item) for item in value)
        return {key: tuples(item) for key, item in value.items()} if isinstance(value, dict) else value

    assert plain(tree) == {"key": tuples(data)}


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " * 1000, "- " * 100_000, "{a: " * 50_000, "&a " * 1000])
def test_nesting_does_not_kill_the_process(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    assert "deep.yaml:1:" in answer(path)
