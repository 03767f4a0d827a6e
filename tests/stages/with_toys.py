"""Builds a graph of the toy stage: ``python -m tests.stages.with_toys HERE``, with the extension of toys."""

import sys
from pathlib import Path

from sdbuild import jobs
from sdbuild.engine.arguments import Options
from sdbuild.job import Artifact
from sdbuild.plan import Build, Graph, Node
from sdbuild.program import run_program
from sdbuild.store import open_store
from tests.engine.run_graph import run_graph
from tests.engine.toy_jobs import play


def main(here: Path) -> int:
    """Two echoes of a word, one of the other, and a bundle of the toy of the engine's tests."""
    echo = jobs.find("echo")
    voice = sys.modules[echo.__module__].Voice
    word = Node(play("config", {}, {"name": "config", "files": ["words"], "text": "hey"}))
    first = Node(echo(voice=voice(times=2), words=("ho",), heard={"it": word.part("words")}), "first")
    second = Node(echo(voice=voice(times=1, loud=True), words=(), heard={}, last=first), "second")
    read: dict[str, Artifact] = {"words": second.part("words")}
    files = {"name": "bundle", "files": ["Resources/words", "manifest.json"], "text": ""}
    recipe = here / "echo.yaml"
    recipe.touch()
    graph = Graph((Build("echo", None, recipe, Node(play("bundle", read, files))),))
    return run_graph(graph, open_store(), here, Options(1))


if __name__ == "__main__":
    run_program(lambda: main(Path(sys.argv[1])))
