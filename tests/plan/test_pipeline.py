"""What a recipe comes to, and what recipes that differ share."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sdbuild.errors import UserError
from sdbuild.plan import Node, plan
from sdbuild.recipe import load_recipe
from sdbuild.recipe.files import configs_folder, names_in
from tests.plan.support import BASE, MODEL_FILES, differing, graph, local_model


def palettes(bits: int) -> list[dict[str, object]]:
    return [{"palettize": {"bits": bits}}]


def test_a_build_has_a_task_for_each_stage_of_each_component(tmp_path: Path) -> None:
    found = graph(tmp_path)
    components = ("text_encoder", "unet", "vae_decoder")
    assert set(found.tasks) == {
        "config",
        *(f"{stage}:{name}" for stage in ("download", "trace", "convert", "compile") for name in components),
        "bundle",
    }
    order = list(found.tasks)
    for name, node in found.tasks.items():
        assert all(order.index(found.names[item.node]) < order.index(name) for item in node.inputs)


def test_compression_and_chunks_add_their_tasks(tmp_path: Path) -> None:
    found = graph(tmp_path, compress={"unet": palettes(6)}, chunk=True)
    added = found.tasks.keys() - graph(tmp_path).tasks.keys()
    assert added == {"compress:unet", "chunk:unet", "compile:unet-1", "compile:unet-2"}
    assert "compile:unet" not in found.tasks
    assert [(item.node.label, item.subpath) for item in found.tasks["compile:unet-2"].inputs] == [
        ("chunk:unet", "UnetChunk2.mlpackage")
    ]
    read = {item.role: item.subpath for item in found.tasks["bundle"].inputs}
    of_unet = {f"components.unet.models.{name}": f"{name}.mlmodelc" for name in ("UnetChunk1", "UnetChunk2")}
    assert read.items() >= {**of_unet, "tokenizers[0]": "tokenizer"}.items()


def test_bits_of_models_and_keys_that_depend_on_no_order(tmp_path: Path) -> None:
    overrides = {"mid_block.*": {"bits": 8}, "conv_in.weight": None}
    turned = {key: overrides[key] for key in reversed(overrides)}
    one, two = (
        graph(tmp_path, compress={"unet": [{"palettize": {"bits": 6, "parameters": each}}]})
        for each in (overrides, turned)
    )
    assert not differing(one, two)
    assert "cpu" not in one.tasks["compress:unet"].parameters
    (build,) = one.builds
    assert [model.bits for model in build.models] == ["16", "6, 8, 16 (palettes)", "16"]


def test_the_vaes_two_halves_share_a_download(tmp_path: Path) -> None:
    found = graph(tmp_path, components=["unet", "vae_decoder", "vae_encoder"])
    weights = {
        item.node for name in ("convert:vae_decoder", "convert:vae_encoder") for item in found.tasks[name].inputs
    }
    assert {node.label for node in weights if node.stage.name == "download"} == {"download:vae_decoder"}
    assert sum(name.startswith("download:") for name in found.tasks) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "other"}, set()),
        ({"compile": "auto"}, set()),  # no Xcode here
        ({"resolution": "768x512"}, {"trace:unet", "trace:vae_decoder", "bundle"}),
        ({"batch": 1}, {"trace:unet", "bundle"}),
        ({"attention": "split_einsum"}, {"convert:unet", "bundle"}),
        ({"target": {"os": "macOS15"}}, {f"convert:{name}" for name in ("text_encoder", "unet", "vae_decoder")} | {"bundle"}),
        ({"target": {"os": "macOS14", "compute_units": "cpuOnly"}}, {"bundle"}),
        ({"compress": {"unet": palettes(6)}}, {"compress:unet", "compile:unet", "bundle"}),
        ({"bundle": {"zip": True}}, {"bundle"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "then",
)  # fmt: skip
def test_a_task_depends_only_on_what_matters_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], expected: set[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert differing(graph(tmp_path), graph(tmp_path, **change)) == expected


@pytest.mark.parametrize(
    ("said", "judged"),
    [
        ({}, {"vae_decoder": "float32"}),
        ({"precision": {"vae_decoder": "float16"}}, {"vae_decoder": "float16"}),
        ({"precision": {"vae_decoder": "float32"}}, {}),
        ({"precision": {"unet": "float32"}}, {"vae_decoder": "float32"}),
        ({"model": {"source": "org/model", "vae": "madebyollin/sdxl-vae-fp16-fix"}}, {}),
        ({"model": {"source": "./model"}}, {}),
        ({"pipeline": "sd1"}, {}),
    ],
)
def test_a_vae_of_the_hub_is_asked_about_float16_where_its_word_counts(
    tmp_path: Path, said: dict[str, object], judged: dict[str, str]
) -> None:
    local_model(tmp_path / "model")
    found = graph(tmp_path, **{"pipeline": "sdxl", "resolution": "1024x1024", **said})
    assert found.tasks["config"].settings["precision"] == judged


def test_other_bits_change_one_task_and_what_follows_by_content(tmp_path: Path) -> None:
    six, four = (graph(tmp_path, compress={"unet": palettes(bits)}) for bits in (6, 4))
    assert differing(six, four) == {"compress:unet", "bundle"}


def test_another_vae_is_no_matter_for_the_rest(tmp_path: Path) -> None:
    changed = differing(
        graph(tmp_path), graph(tmp_path, model={"source": "org/model", "revision": "0" * 40, "vae": "org/vae"})
    )
    assert changed == {
        "config",
        "download:vae_decoder",
        "bundle",
    }  # and convert:vae_decoder by what config and download find


def test_variants_share_what_they_have_in_common(tmp_path: Path) -> None:
    variants = [{"name": f"b{bits}", "compress": {"unet": palettes(bits)}} for bits in (8, 4)]
    found = graph(tmp_path, variants=[*variants, {"name": "plain"}])
    assert {name for name in found.tasks if "@" in name} == {
        "compress:unet@b8",
        "compress:unet@b4",
        *(f"{task}@{variant}" for task in ("compile:unet", "bundle") for variant in ("b8", "b4", "plain")),
    }
    assert len(found.users[found.tasks["convert:unet"]]) == 3
    assert [build.variant for build in found.users[found.tasks["compress:unet@b4"]]] == ["b4"]


def test_no_parameter_tells_of_this_machine(tmp_path: Path) -> None:
    model = local_model(tmp_path / "somewhere" / "my-model")
    found = graph(tmp_path, model={"source": str(model)})
    for name, node in found.tasks.items():
        assert (str(tmp_path) in node.parameters) == (node.stage.name in ("config", "download")), name
        assert ("my-model" in node.parameters) == (node.stage.name in ("config", "download")), name
    assert json.loads(found.tasks["bundle"].parameters)["components"]["unet"]["origin"] == {"local": ""}


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("unet/diffusion_pytorch_model.safetensors", {"config", "download:unet"}),
        ("tokenizer/vocab.json", {"config"}),
        ("model_index.json", {"config"}),
        ("samples/picture.png", set()),
    ],
)
def test_an_edit_of_a_local_model_is_noticed_where_it_matters(tmp_path: Path, edited: str, expected: set[str]) -> None:
    model = local_model(tmp_path / "model")
    before = graph(tmp_path, model={"source": "./model"})
    (model / edited).write_text(f"{MODEL_FILES[edited]} edited")
    assert differing(before, graph(tmp_path, model={"source": "./model"})) == expected
    state = (model / edited).stat()
    os.utime(model / edited, ns=(0, state.st_mtime_ns + 1))
    assert differing(before, graph(tmp_path, model={"source": "./model"})) == expected


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    file = local_model(tmp_path / "model") / "unet/diffusion_pytorch_model.safetensors"
    before, state = graph(tmp_path, model={"source": "./model"}), file.stat()
    file.write_bytes(bytes(state.st_size))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert differing(before, graph(tmp_path, model={"source": "./model"})) == {"config", "download:unet"}


def test_clones_share_what_they_build_of_the_builtin_model() -> None:
    found = plan(load_recipe(configs_folder() / "shapes.yaml").recipes)
    assert not any(str(configs_folder().parent) in node.parameters for node in found.tasks.values())
    files = found.tasks["download:unet"].settings["source"]["files"]
    assert [len(digest) for digest in files.values()] == [64, 64]


@pytest.mark.parametrize("name", names_in(configs_folder()))
def test_every_recipe_that_ships_has_a_plan(name: str) -> None:
    found = plan(load_recipe(configs_folder() / f"{name}.yaml").recipes)
    for build in found.builds:
        assert set(build.nodes) <= set(build.expected)
        assert all(model.package.node in build.expected for model in build.models)


def test_expected_sizes_follow_bits_and_the_real_size_of_local_models(tmp_path: Path) -> None:
    def package(found: object, name: str) -> int:
        build = found.builds[0]  # type: ignore[attr-defined]
        node: Node = found.tasks[name]  # type: ignore[attr-defined]
        return build.expected[node].size  # type: ignore[no-any-return]

    whole = graph(tmp_path)
    small = graph(tmp_path, compress={"unet": palettes(4)})
    assert package(small, "compress:unet") * 4 == package(whole, "convert:unet") == 859520964 * 2
    local_model(tmp_path / "model")
    tiny = graph(tmp_path, model={"source": "./model"}, compress={"unet": palettes(4)})
    assert package(tiny, "convert:unet") == len("unet weights")
    assert tiny.builds[0].expected[tiny.tasks["download:unet"]].disk == 0


@pytest.mark.parametrize(
    ("variant", "size"), [(None, 3), ("fp16", 3), ("plain", 11), ("non_ema", 700), ("fp32", 13000), ("bf16", 3)]
)
def test_expected_sizes_are_those_of_the_variant(variant: str | None, size: int, tmp_path: Path) -> None:
    unet = local_model(tmp_path / "model") / "unet"
    (unet / "diffusion_pytorch_model.safetensors").write_bytes(bytes(11))
    (unet / "diffusion_pytorch_model.non_ema.safetensors").write_bytes(bytes(700))
    (unet / "diffusion_pytorch_model.bin").write_bytes(bytes(17))
    for number, (new, old) in enumerate(((1, 5000), (2, 8000)), start=1):
        part = f"-{number:05}-of-00002"
        (unet / f"diffusion_pytorch_model.fp16{part}.safetensors").write_bytes(bytes(new))
        (unet / f"diffusion_pytorch_model{part}.fp32.safetensors").write_bytes(bytes(old))
    found = graph(tmp_path, model={"source": "./model"} | ({"variant": variant} if variant else {}))
    assert found.builds[0].expected[found.tasks["download:unet"]].size == size


def test_a_model_that_cant_be_read_is_the_users_to_mend(tmp_path: Path) -> None:
    model = local_model(tmp_path / "model")
    graph(tmp_path, model={"source": "./model"})
    recipes = load_recipe(tmp_path / "mine.yaml").recipes
    shutil.rmtree(model)
    with pytest.raises(UserError, match="the model's files can't be read"):
        plan(recipes)


def test_components_of_one_folder_name_and_two_sources_are_two(tmp_path: Path) -> None:
    """As a refiner beside a base would be: each is a UNet in a folder `unet`."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(BASE | {"model": {**BASE["model"], "vae": "org/other"}}))
    (recipe,) = load_recipe(path).recipes
    base = recipe.family.components["unet"]
    refiner = base.model_copy(update={"source": "vae", "swift_name": "UnetRefiner"})
    components = {**recipe.family.components, "refiner": refiner}
    more = {
        "family": recipe.family.model_copy(update={"components": components}),
        "components": (*recipe.components, "refiner"),
        "precisions": recipe.precisions | {"refiner": "float16"},
    }
    found = plan([replace(recipe, **more)])
    downloads = {name: found.tasks[f"download:{name}"] for name in ("unet", "refiner")}
    assert {name: node.settings["source"]["id"] for name, node in downloads.items()} == {
        "unet": "org/model",
        "refiner": "org/other",
    }
    for name, download in downloads.items():
        read = {item.role: (item.node, item.subpath) for item in found.tasks[f"convert:{name}"].inputs}
        assert read["weights"] == (download, None)
        assert read["card"] == (found.tasks["config"], f"components/{name}/card.json")
    wanted = found.tasks["config"].settings["components"]
    assert [wanted[name]["folder"] for name in downloads] == ["unet", "unet"]
    expected = found.builds[0].expected
    assert expected[downloads["unet"]] == expected[downloads["refiner"]]  # not twice of it each
    assert {"compile:unet", "compile:refiner"} <= found.tasks.keys()


def test_variants_share_what_comes_before_compression_and_nothing_that_differs(tmp_path: Path) -> None:
    """Whatever differs, a variant's plan is as if it were alone."""
    changes: list[dict[str, object]] = [
        {},
        {"compress": {"unet": palettes(6)}},
        {"resolution": "768x512"},
        {"attention": "split_einsum"},
        {"target": {"os": "macOS15"}},
        {"batch": 1},
        {"precision": {"unet": "float32"}},
        {"compile": "portable"},
        {"bundle": {"zip": True}},
        {"verify": {}},
        {"chunk": True},
        {"components": ["unet", "vae_decoder"]},
        {"components": ["unet", "vae_encoder"]},
        {"target": {"os": "macOS14", "compute_units": "cpuOnly"}},
    ]
    variants = [{"name": f"v{number}", **change} for number, change in enumerate(changes)]
    together = graph(tmp_path, variants=variants)
    for build, variant in zip(together.builds, variants, strict=True):
        (alone,) = graph(tmp_path, variants=[variant]).builds
        assert build.result == alone.result
        assert build.nodes == alone.nodes
        assert build.models == alone.models
        assert {node: build.expected[node] for node in build.nodes} == dict(alone.expected)
