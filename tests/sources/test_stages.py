"""The stages config and download as the plan calls them, from recipes to files."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from sdbuild.plan import Graph, Node, plan
from sdbuild.recipe import load_recipe
from tests.execute import run, with_paths
from tests.sources.hub_server import HubServer, sha256
from tests.sources.make_models import checked, sd1, sdxl, sharded, weights, write

NAME = "someone/small"
TOKEN = "hf_ThisIsNobodysToken"
STEM = "diffusion_pytorch_model"
READING = ("config", "download")


def planned(folder: Path, model: str, **more: Any) -> Graph:
    """The plan of a recipe for that model."""
    given = {"name": "test", "pipeline": "sd1", "model": json.loads(model), "target": {"os": "macOS15"}, **more}
    path = folder / "test.yaml"
    path.write_text(json.dumps(given))  # JSON is YAML too
    return plan(load_recipe(path).recipes)


def run_both(graph: Graph, folder: Path) -> dict[str, list[Path]]:
    """Run config and then every download; by task, the files in its output."""
    outputs: dict[Node, Path] = {}
    for name, node in graph.tasks.items():
        if node.stage.name not in READING:
            continue
        news: list[tuple[int, int, str]] = []

        def progress(done: int, total: int, unit: str, news: list[tuple[int, int, str]] = news) -> None:
            news.append((done, total, unit))

        place = folder / name.replace(":", "-")
        outputs[node] = run(with_paths(node, outputs), place, progress)
        assert news == sorted(news)
        assert news[-1][0] == news[-1][1]
        assert list((place / "scratch").iterdir()) == []
    return {
        graph.names[node]: sorted(path for path in output.rglob("*") if path.is_file())
        for node, output in outputs.items()
    }


def recorded(files: list[Path]) -> list[dict[str, Any]]:
    """What files.json says; the rest of the artifact must be those files."""
    (record,) = (path for path in files if path.name == "files.json")
    known: list[dict[str, Any]] = json.loads(record.read_text())["files"]
    assert sorted(item["name"] for item in known) == sorted(path.name for path in files if path != record)
    for item in known:
        content = (record.parent / item["name"]).read_bytes()
        assert (item["size"], item["sha256"]) == (len(content), sha256(content))
    return known


def test_a_gated_model_of_the_hub_from_recipe_to_weights(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = sharded(sd1(), "unet", STEM, ".fp16") | {"text_encoder/pytorch_model.bin": b"", f"vae/{STEM}.bin": b""}
    files[f"unet/{STEM}.safetensors"] = weights(8)
    files["safety_checker/model.safetensors"] = weights(9)
    commit = hub.add(NAME, files, gated=True, readers={TOKEN})
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    graph = planned(tmp_path, f'{{"source": "{NAME}", "revision": "{commit}"}}')
    made = run_both(graph, tmp_path)
    shards = [f"{STEM}.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert [item["name"] for item in recorded(made["download:unet"])] == shards
    assert [item["name"] for item in recorded(made["download:text_encoder"])] == ["model.safetensors"]
    assert [item["name"] for item in recorded(made["download:vae_decoder"])] == [f"{STEM}.safetensors"]
    needed = [*(f"unet/{shard}" for shard in shards), "text_encoder/model.safetensors", f"vae/{STEM}.safetensors"]
    assert sorted(hub.asked("cdn")) == sorted(2 * needed)  # their beginnings in config, then all of them
    everything = b"".join(path.read_bytes() for paths in made.values() for path in paths)
    assert TOKEN.encode() not in everything
    assert TOKEN not in "".join(node.parameters for node in graph.tasks.values())


def test_a_local_model_and_another_vae(tmp_path: Path) -> None:
    write(sdxl(), tmp_path / "model")
    write(
        {path.removeprefix("vae/"): body for path, body in sdxl().items() if path.startswith("vae/")}, tmp_path / "fix"
    )
    graph = planned(tmp_path, '{"source": "./model", "vae": "./fix"}', pipeline="sdxl")
    made = run_both(graph, tmp_path / "made")
    assert sorted(made) == [
        "config",
        "download:text_encoder",
        "download:text_encoder_2",
        "download:unet",
        "download:vae_decoder",
    ]
    link = next(path for path in made["download:vae_decoder"] if path.name != "files.json")
    assert link.readlink() == tmp_path / "fix" / f"{STEM}.safetensors"
    for name in made:
        if name != "config":
            recorded(made[name])
    # Nothing that the artifact says depends on where the model lies.
    assert str(tmp_path) not in "".join(path.read_text() for path in made["config"])


def test_the_plan_reads_what_config_writes(tmp_path: Path) -> None:
    write(checked(sd1()), tmp_path / "model")
    components = ["text_encoder", "unet", "vae_decoder", "vae_encoder", "safety_checker"]
    graph = planned(tmp_path, '{"source": "./model"}', components=components)
    files = run_both(graph, tmp_path / "made")["config"]
    made = {str(path.relative_to(tmp_path / "made" / "config" / "output")) for path in files}
    wanted = {
        item.subpath
        for node in graph.tasks.values()
        for item in node.inputs
        if item.node.stage.name == "config" and item.subpath is not None
    }
    assert len(wanted) > 5
    assert wanted - made == {"tokenizer"}  # a folder
    assert {"tokenizer/vocab.json", "tokenizer/merges.txt"} <= made


def test_artifacts_do_not_depend_on_how_the_model_was_got(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add(NAME, sd1())
    write(sd1(), tmp_path / "model")
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    digests = []
    for place, source in (("one", NAME), ("two", "./model")):
        made = run_both(planned(tmp_path, f'{{"source": "{source}"}}'), tmp_path / place)
        digests.append([(path.name, sha256(path.read_bytes())) for path in made["download:unet"]])
    assert digests[0] == digests[1]


def test_a_renamed_copy_of_a_model_reads_its_files_and_builds_nothing_anew(tmp_path: Path) -> None:
    digests = []
    graphs = []
    for name in ("my-secret-project", "renamed"):
        write(sd1(), tmp_path / name)
        graphs.append(planned(tmp_path, f'{{"source": "./{name}"}}'))
        made = run_both(graphs[-1], tmp_path / "made" / name)
        digests.append({task: [sha256(path.read_bytes()) for path in files] for task, files in made.items()})
        for path in (path for files in made.values() for path in files):
            assert name.encode() not in path.read_bytes()
    assert digests[0] == digests[1]
    # What these two stages made is the same, and the others get nothing else: so are their keys.
    rest = [
        {
            name: (node.parameters, [item.role for item in node.inputs])
            for name, node in graph.tasks.items()
            if node.stage.name not in READING
        }
        for graph in graphs
    ]
    assert rest[0] == rest[1]
    assert len(rest[0]) > 8
