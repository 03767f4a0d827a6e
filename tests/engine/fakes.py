"""A store that looks as if a recipe had been built: real keys, small made-up files."""

from pathlib import Path

from sdbuild.engine.results import Destination
from sdbuild.engine.session import Session
from sdbuild.engine.survey import Due, Ready, State, examine
from sdbuild.graphs import Graph as Traced
from sdbuild.graphs import Node as GraphNode
from sdbuild.graphs import TensorType, write_graph
from sdbuild.plan import Graph, Node
from sdbuild.store import Stamp, Store, Workplace

_FILES = {
    "bundle": ["manifest.json", "Resources/vocab.json"],
    "config": [],
    "download": ["model.safetensors"],
    "trace": ["graph.json"],
}


def pretend_to_build(graph: Graph, store: Store, here: Path) -> list[str]:
    """Make every artifact that is missing, and show the results; names of the tasks it was done for."""
    session = Session(graph, store, Destination(here), jobs=1, whole=True)
    made = []
    for name, node in graph.tasks.items():
        if not session.is_done(node):
            _make(graph, store, node, session)
            assert session.is_done(node)
            made.append(name)
    for build in graph.builds:
        session.show(build)
    session.finish()
    return made


def _graph(component: str) -> Traced:
    value = TensorType("float32", (2, 4))
    x = GraphNode("x", "input", value=value)
    made = GraphNode(component, "aten.relu.default", (x,), value=value)
    return Traced([x, made], [made], {})


def _make(graph: Graph, store: Store, node: Node, session: Session) -> None:
    states: dict[Node, State] = {}
    for needed in graph.tasks.values():
        states[needed] = examine(store, needed, states)
        if needed == node:
            break
    due = states[node]
    assert isinstance(due, Due) and all(isinstance(states[item.node], Ready) for item in node.inputs)
    work = Workplace(store.root, due.key)
    work.prepare()
    asked = {
        item.subpath for user in graph.tasks.values() for item in user.inputs if item.node == node and item.subpath
    }
    for path in [*_FILES.get(node.stage.name, ["content"]), *asked]:
        folder = not Path(path).suffix or path.endswith((".mlpackage", ".mlmodelc"))
        file = work.output / path / "content" if folder else work.output / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path == "graph.json":
            write_graph(_graph(node.label.removeprefix("trace:")), file)
            continue
        file.write_text(f"{node.label} {path} {node.parameters if not path.endswith('.json') else ''}")
    about = {"stage": node.stage.name, "key": due.key, "ingredients": due.ingredients}
    made_for = f"{graph.users[node][0].recipe}: {graph.names[node]}"
    store.commit(work, Stamp.of(work.output, {}, **about, made_for=made_for))
    work.remove(scratch=True)
