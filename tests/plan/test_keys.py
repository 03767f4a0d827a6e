"""Keys, and the words for how two differ."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from sdbuild.job import Artifact, stage
from sdbuild.plan import Node, difference, ingredients, key_of
from sdbuild.plan.keys import tool_version


@stage("source", version=1, title="")
class Source:
    pass


class Play:
    given: dict[str, Any]
    package: Artifact


SOURCE = Node(Source())


def made_of(
    digest: str = "d1", subpath: str | None = "folder/file", version: int = 1, **parameters: Any
) -> dict[str, Any]:
    play: Any = stage("play", version=version, title="", tools=("doit",))(type("Play", (Play,), dict(vars(Play))))
    package = SOURCE if subpath is None else SOURCE.part(subpath)
    made = ingredients(Node(play(given=parameters, package=package), "x"), [digest])
    return made | {"parameters": made["parameters"].get("given", {})}


def test_a_key_is_of_stage_version_parameters_inputs_and_tools() -> None:
    base = made_of(bits=6)
    assert key_of(base) == key_of(made_of(bits=6)) and len(key_of(base)) == 64
    others = [made_of(bits=4), made_of(bits=6, version=2), made_of("d2", bits=6), made_of(subpath="folder/f", bits=6)]
    assert len({key_of(made) for made in (base, *others)}) == 5
    assert base["tools"] == {"doit": tool_version("doit")}


def test_of_an_inputs_place_only_what_the_stage_sees_counts() -> None:
    assert key_of(made_of(subpath="here/file")) == key_of(made_of(subpath="there/file"))


@pytest.mark.parametrize("written", ["2.13.0", "2.13.0+cpu"])
def test_how_a_tool_was_built_is_no_part_of_its_version(
    written: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"built-{len(written)}"
    folder = tmp_path / f"{name.replace('-', '_')}-{written}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {written}\nSummary: one\n\nVersion: 9\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert tool_version(name) == "2.13.0"


@pytest.mark.parametrize("name", ["torch", "numpy", "coremltools"])
def test_the_version_is_that_of_the_distribution(name: str) -> None:
    assert tool_version(name) == version(name).partition("+")[0]


def test_a_tool_that_is_not_there_has_no_version() -> None:
    assert tool_version("no-such-distribution") == "not installed"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"steps": [{"bits": 6}]}, {"steps": [{"bits": 4}]}, ["steps[0].bits 6 → 4"]),
        ({"a": 1, "b": "x"}, {"b": "y", "c": None}, ["a 1 → nothing", "b x → y", "c nothing → null"]),
        ({"steps": []}, {"steps": [1]}, ["steps [] → [1]"]),
        ({"version": 1}, {"version": 2}, ["this version of sdbuild does it differently (1 → 2)"]),
        ({"digest": "d1"}, {"digest": "d2"}, ["the input package changed"]),
        (
            {"source": {"files": {"a/x": "1", "a/y": "1"}}},
            {"source": {"files": {"a/x": "2", "a/z": "1"}}},
            ["the model's file a/x was edited", "the model's file a/y is gone", "the model's file a/z is new"],
        ),
        ({"long": "x" * 100}, {"long": ""}, [f"long {'x' * 57}… → "]),
    ],
)
def test_differences_are_told_in_words(before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    assert [str(found) for found in difference(made_of(**before), made_of(**after))] == expected


def test_another_version_of_a_tool_is_told() -> None:
    old = made_of() | {"tools": {"doit": "0.1"}}
    assert [str(found) for found in difference(old, made_of())] == [f"doit 0.1 → {tool_version('doit')}"]
