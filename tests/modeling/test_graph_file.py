"""Traced graphs as plain data: what is written comes back, nothing else comes in, and no pickle is ever opened."""

import json
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
from sdbuild.modeling.components import Shape, build
from sdbuild.modeling.graph_file import read_graph, write_graph
from sdbuild.modeling.tracing import PREFIX, parameters_of, trace
from tests.architectures import CONFIGS

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


def taken(argument: Any) -> Any:
    """Comparable: nodes by name, tuples as lists."""
    if isinstance(argument, torch.fx.Node):
        return ("node", argument.name)
    return [taken(each) for each in argument] if isinstance(argument, list | tuple) else argument


def described(value: Any) -> Any:
    return [described(each) for each in value] if isinstance(value, list | tuple) else (value.dtype, tuple(value.shape))


@pytest.mark.parametrize("kind", ["clip_text_pooled", "unet", "safety_checker"])
def test_what_is_read_is_what_torch_traced(kind: str, tmp_path: Path) -> None:
    component = build(kind, CONFIGS[kind], SHAPE)
    with torch.no_grad():
        exported = torch.export.export(component.module, component.arguments, strict=False)
    write_graph(exported, tmp_path / "graph.json")
    read = read_graph(tmp_path / "graph.json")
    for node, original in zip(read.graph.nodes, exported.graph.nodes, strict=True):
        assert (node.name, node.op) == (original.name, original.op)
        assert taken(node.args) == taken(original.args)
        if node.op == "call_function":
            assert node.target is original.target
            assert {key: taken(each) for key, each in node.kwargs.items()} == original.kwargs
        assert ("val" in node.meta) == (original.meta.get("val") is not None)
        if "val" in node.meta:
            assert described(node.meta["val"]) == described(original.meta["val"])
    inputs = [(spec.arg.name, spec.target) for spec in exported.graph_signature.input_specs]
    assert [(spec.arg.name, spec.target) for spec in read.graph_signature.input_specs] == inputs
    model = component.module.state_dict()
    shapes, used = parameters_of(read, PREFIX)
    assert shapes == {name.removeprefix(PREFIX): tuple(tensor.shape) for name, tensor in model.items()}
    assert used <= set(shapes)


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
    assert "it is of another format" in refused(path, graph.replace('"format": 1', '"format": 2'))
    path.unlink()
    with pytest.raises(UserError, match=r"No such file"):
        read_graph(path)


def _first_operation(data: dict[str, Any]) -> dict[str, Any]:
    return next(node for node in data["nodes"] if node["op"].startswith("aten."))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: _first_operation(data).update(op="prims.exp.default"), "'prims.exp.default' is no operation"),
        (lambda data: _first_operation(data).update(op="aten.no_such.default"), "'aten.no_such.default' is no operation"),
        (lambda data: _first_operation(data).update(op="aten.add_.Tensor"), "'aten.add_.Tensor' is no operation"),
        (lambda data: _first_operation(data).update(op="aten.__class__.mro"), "'aten.__class__.mro' is no operation"),
        (lambda data: _first_operation(data).update(op=["aten"]), "expected string"),
        (lambda data: _first_operation(data).update(args=[{"node": "nobody"}]), "'nobody' is missing"),
        (lambda data: _first_operation(data).update(args=[{"module": "os"}]), "'module' is missing"),
        (lambda data: _first_operation(data).update(args=[{"device": "cuda"}]), "'cuda' is missing"),
        (lambda data: _first_operation(data).update(args=[{}]), "not enough values"),
        (lambda data: _first_operation(data).update(name="a b"), "a node is called 'a b'"),
        (lambda data: _first_operation(data).update(name=data["nodes"][0]["name"]), "a node is called"),
        (lambda data: _first_operation(data).update(value={"dtype": "load", "shape": []}), "'load' is missing"),
        (lambda data: _first_operation(data).update(value={"dtype": "int8", "shape": [-1]}), "-1 is no size"),
        (lambda data: _first_operation(data).update(value={"dtype": "int8", "shape": [1 << 62] * 3}), ""),
        (lambda data: data["nodes"][0].update(holds=5), "holds 5"),
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
        {"name": "x", "op": "placeholder", "holds": None, "value": value},
        {"name": "y", "op": "aten.from_file.default", "args": [str(victim), True, 4], "kwargs": {}, "value": value},
        {"name": "z", "op": "aten.add.Tensor", "args": [{"node": "x"}, {"node": "y"}], "kwargs": {}, "value": value},
        {"name": "output", "op": "output", "args": [[{"node": "z"}]], "value": None},
    ]
    (tmp_path / "graph.json").write_text(json.dumps({"format": 1, "parameters": {}, "nodes": nodes}))
    with pytest.raises(UserError, match=re.escape("no lowering for aten.from_file.default (node y)")):
        convert(
            read_graph(tmp_path / "graph.json"), lambda name: np.zeros(1), tmp_path / "m.mlpackage",
            inputs=[Port("x", "float32")], outputs=[Port("z", "float32")], opset="CoreML6", precision="float32",
            metadata=Metadata(),
        )  # fmt: skip
    assert not victim.exists()
