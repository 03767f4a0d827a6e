"""A small graph of two variants with everything a real one has, and a program that builds it.

``python -m tests.engine.toy HERE [-n N] [TASK…]``: settings come from the environment variable TOY, as JSON; the store is
the one of SDBUILD_STORE.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from sdbuild.engine.arguments import Options
from sdbuild.errors import UserError
from sdbuild.job import Artifact
from sdbuild.plan import Build, Expected, Graph, Model, Node
from sdbuild.program import complain, run_program
from sdbuild.store import open_store
from tests.engine.run_graph import run_graph
from tests.engine.toy_jobs import play

NODES = 9
"""In the graph: three in common and three of each variant."""


def graph(recipe: Path, changes: dict[str, Any] | None = None) -> Graph:
    """config → trace, download → convert (in common) → compress, compile, bundle of each variant; ``changes`` maps a task's
    label, or its label and variant, to parameters; ``size`` is the number of bytes expected
    of each artifact, ``recipe`` the name of the file."""
    changes = changes or {}

    def node(
        stage: str, name: str, inputs: dict[str, Artifact], files: list[str], text: str = "", variant: str = ""
    ) -> Node:
        label = f"{stage}:{name}" if name else stage
        parameters = {"name": label + variant, "files": files, "text": text}
        parameters |= changes.get("*", {}) | changes.get(label, {}) | changes.get(label + variant, {})
        return Node(play(stage, inputs, parameters), name)

    config = node("config", "", {}, ["a/config.json", "b/config.json", "tokenizer/vocab.json"])
    trace = node("trace", "a", {"config": config.part("a/config.json")}, ["graph"])
    convert = node("convert", "a", {"trace": trace}, ["A.mlpackage/model", "A.mlpackage/weights/weight.bin"])
    builds = []
    for variant in changes.get("variants", ["x", "y"]):
        at = f"@{variant}"
        compress = node("compress", "a", {"package": convert}, ["A.mlpackage/model"], variant, at)
        package = compress.part("A.mlpackage")
        compiled = node("compile", "a", {"package": package}, ["A.mlmodelc/model.mil"], variant, at)
        shown = ["Resources/A.mlmodelc/model.mil", "Resources/vocab.json", "manifest.json"]
        read = {"A": compiled.part("A.mlmodelc"), "tokenizer": config.part("tokenizer")}
        bundle = node("bundle", "", read, shown, variant, at)
        nodes = (config, trace, convert, compress, compiled, bundle)
        expected = dict.fromkeys(nodes, Expected(changes.get("size", 0), changes.get("size", 0)))
        builds.append(Build("toy", variant, recipe, bundle, (Model("A", package, compiled, "6", None),), expected))
    return Graph(tuple(builds))


def main(here: str, *arguments: str) -> int:
    """Build for a user who stands in ``here``."""
    rest = list(arguments)
    jobs = int(rest.pop(1)) if rest[:1] == ["-n"] else 1
    words = [word for word in rest if not word.startswith("-")] or ["build"]
    changes = json.loads(os.environ.get("TOY", "{}"))
    recipe = Path(here) / changes.get("recipe", "toy.yaml")
    recipe.touch()
    try:
        built = graph(recipe, changes)
        return run_graph(built, open_store(), Path(here), Options(jobs, keep_going="-c" in rest), words)
    except UserError as error:
        complain(str(error))
        return error.status


if __name__ == "__main__":
    run_program(lambda: main(*sys.argv[1:]))
