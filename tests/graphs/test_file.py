"""Traced graphs as plain data: what is written comes back, nothing else comes in, and no pickle is ever opened."""

import json
import operator
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.errors import UserError
from sdbuild.graphs import TensorType, as_text, read_graph, write_graph
from sdbuild.modeling.tracing import PREFIX, graph_of, trace
from sdbuild.opset import Opset
from tests.architectures import CONFIGS, Shape, build

SHAPE = Shape(height=64, width=64, batch=2)


@pytest.fixture(autouse=True)
def no_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whatever would unpickle."""

    def opened(*_: Any, **__: Any) -> None:
        pytest.fail("a pickle was opened")

    for module, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(module, name, opened)
    monkeypatch.setattr(pickle, "Unpickler", type("Unpickler", (pickle.Unpickler,), {"load": opened}))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("graph") / "graph.json"
    trace(build("vae_decoder", CONFIGS["vae_decoder"], SHAPE), path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["clip_text_pooled", "unet", "safety_checker"])
def test_what_is_read_is_what_was_traced(kind: str, tmp_path: Path) -> None:
    component = build(kind, CONFIGS[kind], SHAPE)
    traced, constants = graph_of(component.module, component.arguments)
    write_graph(traced, tmp_path / "graph.json")
    read = read_graph(tmp_path / "graph.json")
    assert constants == {}
    assert list(as_text(read)) == list(as_text(traced))
    assert (read.parameters, read.used) == (traced.parameters, traced.used)
    assert len(read.inputs) == len(component.arguments)
    model = component.module.state_dict()
    assert read.parameters == {name.removeprefix(PREFIX): tuple(tensor.shape) for name, tensor in model.items()}
    assert read.used <= read.parameters.keys()


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_a_graph_is_what_torch_exports(kind: str) -> None:
    """Operation for operation: torch's own export, which takes longer, sees the same."""
    component = build(kind, CONFIGS[kind], SHAPE)
    traced, _ = graph_of(component.module, component.arguments)
    with torch.no_grad():
        exported = torch.export.export(component.module, component.arguments, strict=False)
    calls = [node for node in exported.graph.nodes if node.op == "call_function" and node.meta.get("val") is not None]
    operations = [node for node in traced.nodes if node.op not in ("input", "getitem")]
    assert [node.op for node in operations] == [
        str(node.target) for node in calls if node.target is not operator.getitem
    ]
    for node, call in zip(operations, [n for n in calls if n.target is not operator.getitem], strict=True):
        if isinstance(node.value, TensorType):
            assert node.shape == tuple(call.meta["val"].shape)
            assert f"torch.{node.value.dtype}" == str(call.meta["val"].dtype)


def test_people_can_read_it(tmp_path: Path) -> None:
    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            first, _ = self.model(x).to(torch.float16).chunk(2, dim=1)
            return (first,)

    graph, _ = graph_of(Small(), (torch.zeros(2, 3),))
    write_graph(graph, tmp_path / "graph.json")
    assert list(as_text(read_graph(tmp_path / "graph.json"))) == [
        "input %x: float32[2, 3]",
        "%linear: float32[2, 4] = aten.linear.default(%x, weight [4, 3], bias [4])",
        "%to: float16[2, 4] = aten.to.dtype(%linear, float16)",
        "%chunk: (float16[2, 2], float16[2, 2]) = aten.chunk.default(%to, 2, 1)",
        "%getitem: float16[2, 2] = getitem(%chunk, 0)",
        "%getitem_1: float16[2, 2] = getitem(%chunk, 1)",
        "output %getitem",
    ]


def refused(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as failure:
        read_graph(path)
    message = str(failure.value)
    assert message.startswith(f"{path}: not a graph as sdbuild writes it (")
    assert message.endswith(f"); delete {path.parent} and build again")
    assert "\n" not in message
    return message


def test_files_that_are_no_graphs(graph: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    with zipfile.ZipFile(path, "w") as archive:  # as torch.export.save writes, which is what used to lie here
        archive.writestr("archive/data/weights/weights.pt", pickle.dumps({"a": 1}))
    for content in (
        path.read_bytes(),
        pickle.dumps({"a": 1}),
        b"",
        b"\xff\xfe",
        "{}",
        "[]",
        "[" * 100_000,
        graph[:-200],
    ):
        refused(path, content)
    assert "it is of another format" in refused(path, graph.replace('"format": 2', '"format": 1'))
    path.unlink()
    with pytest.raises(UserError, match=r"No such file"):
        read_graph(path)


def _first_operation(data: dict[str, Any]) -> dict[str, Any]:
    return next(node for node in data["nodes"] if node["op"].startswith("aten."))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: _first_operation(data).update(op="prims.exp.default"), "'prims.exp.default' is no operation"),
        (lambda data: _first_operation(data).update(op="aten.__class__"), "'aten.__class__' is no operation"),
        (lambda data: _first_operation(data).update(op=["aten"]), "expected string"),
        (lambda data: _first_operation(data).update(args=[{"node": "nobody"}]), "'nobody' is missing"),
        (lambda data: _first_operation(data).update(args=[{"module": "os"}]), "is no argument"),
        (lambda data: _first_operation(data).update(args=[{"device": "os.system()"}]), "is no argument"),
        (lambda data: _first_operation(data).update(args=[{"parameter": "nobody"}]), "'nobody' is missing"),
        (lambda data: _first_operation(data).update(args=[{}]), "not enough values"),
        (lambda data: _first_operation(data).update(name="a b"), "a node is called 'a b'"),
        (lambda data: _first_operation(data).update(name=data["nodes"][0]["name"]), "a node is called"),
        (lambda data: _first_operation(data).update(value={"dtype": "load", "shape": []}), "'load' is no type of numbers"),
        (lambda data: _first_operation(data).update(value={"dtype": "int8", "shape": [-1]}), "-1 is no size"),
        (lambda data: data.pop("outputs"), "'outputs' is missing"),
        (lambda data: data.update(outputs=[{"node": "nobody"}]), "'nobody' is missing"),
        (lambda data: data.pop("parameters"), "'parameters' is missing"),
        (lambda data: data.update(parameters={"a": [1.5]}), "1.5 is no size"),
        (lambda data: data.update(nodes=5), ""),
    ],
)  # fmt: skip
def test_what_has_no_place_in_a_graph(
    change: Callable[[dict[str, Any]], object], message: str, graph: str, tmp_path: Path
) -> None:
    data = json.loads(graph)
    change(data)
    assert message in refused(tmp_path / "graph.json", json.dumps(data))


def test_an_operation_on_files_is_not_computed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    value = {"dtype": "float32", "shape": [4]}
    nodes = [
        {"name": "x", "op": "input", "value": value},
        {"name": "y", "op": "aten.from_file.default", "args": [str(victim), True, 4], "kwargs": {}, "value": value},
        {"name": "z", "op": "aten.add.Tensor", "args": [{"node": "x"}, {"node": "y"}], "kwargs": {}, "value": value},
    ]
    (tmp_path / "graph.json").write_text(
        json.dumps({"format": 2, "parameters": {}, "nodes": nodes, "outputs": [{"node": "z"}]})
    )
    with pytest.raises(UserError, match=re.escape("no lowering for aten.from_file.default (node y)")):
        convert(
            read_graph(tmp_path / "graph.json"), lambda name: np.zeros(1), tmp_path / "m.mlpackage",
            inputs=[Port("x", "float32")], outputs=[Port("z", "float32")], opset=Opset.IOS16, precision="float32",
            metadata=Metadata(),
        )  # fmt: skip
    assert not victim.exists()
