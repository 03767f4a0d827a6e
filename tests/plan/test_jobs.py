"""Jobs as JSON: what crosses to a stage's process comes back as it was, and anything else is refused."""

import json
import re
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from sdbuild import jobs
from sdbuild.errors import UserError
from sdbuild.job import OMIT, Artifact, Found, decode, encode, stage, stage_of
from sdbuild.opset import Opset
from sdbuild.plan import Graph, Node
from tests.plan.support import graph, local_model

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Grain:
    size: float
    kind: Artifact | None = None


@stage("mill", version=1, title="mill")
class Mill:
    opset: Opset
    grains: tuple[Grain, ...]
    by_name: dict[str, Artifact]
    settings: dict[str, Any]
    loud: bool = False
    notes: dict[str, str] = field(default_factory=dict)


MILL = Mill(
    opset=Opset.IOS17,
    grains=(Grain(size=2), Grain(size=0.5, kind=Found(Path("/b")))),
    by_name={"y": Found(Path("/y")), "x": Found(Path("/x"))},
    settings={"deep": [1, {"er": None}]},
)
TEXT = {
    "opset": 17,
    "grains": [{"size": 2}, {"size": 0.5, "kind": "/b"}],
    "by_name": {"x": "/x", "y": "/y"},
    "settings": {"deep": [1, {"er": None}]},
}


def paths(job: object) -> Any:
    return json.loads(json.dumps(encode(job, lambda place, artifact: str(artifact.path))))


def test_a_job_comes_back_as_it_was() -> None:
    assert paths(MILL) == TEXT and list(paths(MILL)["by_name"]) == ["x", "y"]
    assert decode(Mill, paths(MILL)) == MILL
    job = decode(Mill, paths(MILL))
    assert list(job.by_name) == ["x", "y"]  # as in the key, which knows no order
    assert job.opset is Opset.IOS17 and isinstance(job.grains, tuple)


def test_settings_are_all_but_the_artifacts_and_defaults() -> None:
    places = []

    def note(place: str, artifact: Artifact) -> Any:
        places.append((place, artifact))
        return OMIT

    assert encode(MILL, note) == {"opset": 17, "grains": [{"size": 2}, {"size": 0.5}], "settings": TEXT["settings"]}
    assert [(place, str(found.path)) for place, found in places] == [
        ("grains[1].kind", "/b"),
        ("by_name.x", "/x"),
        ("by_name.y", "/y"),
    ]
    assert encode(replace(MILL, loud=True, notes={"a": "b"}), note) == encode(MILL, note) | {
        "loud": True,
        "notes": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"opset": 12}, "mill.opset"),
        ({"opset": "17"}, "mill.opset"),
        ({"grains": {}}, "mill.grains"),
        ({"grains": [{}]}, "mill.grains[0].size"),
        ({"grains": [{"size": True}]}, "mill.grains[0].size"),
        ({"grains": [{"size": 1, "kind": 5}]}, "mill.grains[0].kind"),
        ({"by_name": {"x": None}}, "mill.by_name.x"),
        ({"new": 1}, "mill.new"),
        ({"loud": 1}, "mill.loud"),
        ({"loud": False}, "mill: says more or less"),
    ],
)
def test_anything_else_is_refused_in_a_line(change: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError) as refusal:
        decode(Mill, TEXT | change)
    assert str(refusal.value) == (
        f"the build and the process of its stage are of different versions of sdbuild ({place}): was it updated meanwhile? "
        "Run the same command again"
    )


def test_what_no_json_can_hold_is_no_job() -> None:
    with pytest.raises(TypeError, match=r"^settings\.file: a job can't hold PosixPath"):
        encode(replace(MILL, settings={"file": Path("x")}), lambda place, artifact: None)


@pytest.fixture
def whole(tmp_path: Path) -> Graph:
    """A graph with a job of every stage."""
    local_model(tmp_path / "model")
    steps = [{"palettize": {"bits": 6, "parameters": {"mid_block.*": {"bits": 8}, "conv_in.weight": None}}}]
    return graph(
        tmp_path,
        model={"source": "./model", "loras": ["builtin:shapes/night"]},
        verify={},
        chunk=True,
        compress={"unet": steps},
    )


def crossing(node: Node) -> dict[str, Any]:
    """A node's job as its process gets it."""
    found: dict[str, Any] = json.loads(
        json.dumps(node.with_paths({item.role: f"/{item.role}" for item in node.inputs}))
    )
    return found


def test_jobs_of_all_stages_cross(whole: Graph) -> None:
    assert {node.stage.name for node in whole.tasks.values()} == set(jobs.names())
    for node in whole.tasks.values():
        assert type(node.job) is jobs.find(node.stage.name)
        job = decode(type(node.job), crossing(node))
        assert encode(job, lambda place, artifact: OMIT) == node.settings
        read: dict[str, Artifact] = {}
        encode(job, read.setdefault)
        assert {role: str(found.path) for role, found in read.items()} == {
            item.role: f"/{item.role}" for item in node.inputs
        }


def test_no_job_of_a_stage_crosses_with_a_field_less_or_more_or_another_in_its_place(whole: Graph) -> None:
    for node in {node.stage.name: node for node in whole.tasks.values()}.values():
        given, kind = crossing(node), type(node.job)
        required = [each.name for each in fields(kind) if each.default is each.default_factory is MISSING]
        others: list[dict[str, Any]] = [{key: given[key] for key in given.keys() - {name}} for name in required]
        others += [given | {f"{name}_": 1} for name in given]
        others += [given | {name: [[["no such thing"]]]} for name in given]
        for other in others:
            with pytest.raises(UserError, match="different versions of sdbuild"):
                decode(kind, other)


def test_documents_name_all_stages() -> None:
    """In lists and pictures; nobody has to remember them when a stage is added."""
    names = set(jobs.names())
    (row,) = re.findall(r"^\| stage \| a kind of work: ([^|]+) \|", (ROOT / "docs/glossary.md").read_text(), re.M)
    assert set(row.split(", ")) == names
    for document in ("README.md", "docs/architecture.md"):
        text = (ROOT / document).read_text()
        (line,) = re.findall(r"(?:\w+ → )+chunk(?: → \w+)+", text)
        assert set(line.split(" → ")) <= names, document
    for name in names:
        about = stage_of(jobs.find(name))
        assert about.title and (ROOT / "sdbuild" / "stages" / f"{name}.py").is_file()
