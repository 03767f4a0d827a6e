"""The stage lora: which tensors of a file change what, and what is said of files that are something else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file, save_file

from sdbuild.arrays import Array
from sdbuild.errors import UserError
from sdbuild.jobs.config import SourceFacts
from sdbuild.plan import plan
from sdbuild.recipe import load_recipe
from tests.execute import execute, run, with_paths

NIGHT = Path(__file__).parents[2] / "sdbuild/shapes/night/model/night.safetensors"
Tensors = dict[str, Array]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stage's job for a local file, in a recipe of the model that comes with sdbuild."""
    folder = tmp_path_factory.mktemp("lora")
    save_file(load_file(NIGHT), folder / "mine.safetensors")
    recipe = {
        "name": "mine",
        "pipeline": "sd1",
        "model": {"source": "builtin:shapes", "loras": ["./mine.safetensors"]},
        "target": {"os": "macOS14"},
        "resolution": "64x64",
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(recipe))
    graph = plan(load_recipe(folder / "mine.yaml").recipes)
    node = graph.tasks["lora:mine"]
    made = execute(graph, folder / "made", *(item.node for item in node.inputs))
    return with_paths(node, made)


@pytest.fixture
def look(job: Any, tmp_path: Path) -> Callable[..., tuple[Path, list[str]]]:
    """Runs the stage on tensors; its artifact, and the warnings."""

    def look(tensors: Tensors, metadata: dict[str, str] | None = None, **changes: Any) -> tuple[Path, list[str]]:
        path, warned = tmp_path / "x.safetensors", list[str]()
        save_file(tensors, path, metadata)
        source = SourceFacts(kind="local", id="./x.safetensors", path=str(tmp_path), files={})
        given = replace(job, source=source, file="x.safetensors", **changes)
        return run(given, tmp_path / "made", warn=warned.append), warned

    return look


Q = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def pair(layer: str = Q, inputs: int = 128, outputs: int = 128, rank: int = 2) -> Tensors:
    up, down = np.ones((outputs, rank), np.float32), np.ones((rank, inputs), np.float32)
    return {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}


def test_every_tensor_is_for_a_parameter(look: Callable[..., tuple[Path, list[str]]]) -> None:
    made, warned = look(load_file(NIGHT))
    changes, about = json.loads((made / "unet.json").read_text()), json.loads((made / "about.json").read_text())
    assert len(changes) == 56 and not warned and json.loads((made / "text_encoder.json").read_text()) == {}
    assert about == {"changes": {"text_encoder": 0, "unet": 56}, "kinds": {"lora": 56}, "ranks": [4], "unused": []}
    (record,) = json.loads((made / "files.json").read_text())["files"]
    assert record["path"] == "x.safetensors"


def test_one_for_few_steps_is_known_by_what_its_trainer_wrote(look: Callable[..., tuple[Path, list[str]]]) -> None:
    made, _ = look(pair(), {"ss_output_name": "lcm-lora-v2"})
    assert json.loads((made / "about.json").read_text())["distilled"] == {
        "kind": "LCM",
        "schedulers": ["lcm"],
        "steps": [2, 8],
        "guidance": [0.0, 2.0],
        "recognized_by": "its metadata, lcm-lora-v2",
    }


LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
ONES = np.ones((2, 128), np.float32)
PEFT = {f"unet.{LAYER}.lora_A.weight": ONES, f"unet.{LAYER}.lora_B.weight": ONES.T}

WRONG: dict[str, tuple[Tensors, str]] = {
    "SDXL": (
        pair("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048, 640),
        "a LoRA for Stable Diffusion XL, and the recipe builds Stable Diffusion 1.x; name one for it",
    ),
    "SDXL, text encoders": (
        pair("lora_te2_text_model_encoder_layers_0_mlp_fc1"),
        "a LoRA for Stable Diffusion XL, and the recipe",
    ),
    "Stable Diffusion 2": (
        pair("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 1024, 64),
        "a LoRA for Stable Diffusion 2, and the recipe",
    ),
    "FLUX": (pair("lora_unet_double_blocks_0_img_attn_qkv"), "a LoRA for FLUX; nothing of it can be merged"),
    "SD3": (pair("transformer.transformer_blocks.0.attn.to_q"), "a LoRA for a transformer such as"),
    "model": (
        {"model.diffusion_model.out.2.bias": np.ones(4, np.float32)},
        "a whole model in one file: name it as",
    ),
    "UNet": ({"down_blocks.0.resnets.0.conv1.bias": np.ones(4, np.float32)}, "a UNet of diffusers: name its model"),
    "VAE": ({"first_stage_model.decoder.conv_in.bias": np.ones(4, np.float32)}, "a VAE: name it as `model.vae`"),
    "embedding": (
        {"emb_params": np.ones((1, 768), np.float32)},
        "an embedding of a token: name it in `model.embeddings`",
    ),
    "SDXL embedding": ({"clip_l": np.ones((1, 768), np.float32)}, "an embedding of a token: name it in"),
    "IP-Adapter": ({"ip_adapter.1.to_k_ip.weight": np.ones((1, 768), np.float32)}, "an IP-Adapter; nothing"),
    "ControlNet": ({"controlnet_cond_embedding.conv_in.bias": np.ones(4, np.float32)}, "a ControlNet; nothing"),
    "other": ({"weight": np.ones((2, 2), np.float32)}, "not a LoRA for this model; nothing of it can be merged"),
    "IA3": (
        {f"{Q}.on_input": np.ones(1, np.float32), f"{Q}.weight": np.ones(128, np.float32)},
        "IA³, which scales",
    ),
    "OFT": ({f"{Q}.oft_blocks": np.ones((4, 2, 2), np.float32)}, "OFT or BOFT, which multiplies weights by rotations"),
    "shape": (pair(inputs=64), r"down \[2, 64\] for a weight \[128, 128"),
    "rank": (
        {**pair(rank=2), f"{Q}.lora_down.weight": np.ones((3, 128), np.float32)},
        r"up \[128, 2\], down \[3, 128\] for a weight",
    ),
    "half": (
        {f"{Q}.lora_up.weight": np.ones((128, 2), np.float32)},
        "a part of something whose other parts are not there",
    ),
    "magnitude": ({**pair(), f"{Q}.dora_scale": np.ones((7, 1), np.float32)}, r"magnitude \[7, 1\] for a weight"),
    "more": (
        {**pair(), **pair("lora_unet_nowhere")},
        "2 of 4 tensors are of no use here .lora_unet_nowhere.lora_down.weight, .*: the model has no such layer.; name another "
        "file, or write `strict: false`",
    ),
    "several adapters": (
        {key.replace(".weight", f".{name}.weight"): value for name in ("one", "two") for key, value in PEFT.items()},
        r"of several adapters \(one, two\); save one alone",
    ),
    "halves of two adapters": (
        {f"unet.{LAYER}.lora_A.x.weight": ONES, f"unet.{LAYER}.lora_B.y.weight": ONES.T},
        r"of several adapters \(x, y\); save one alone",
    ),
    "two spellings": (
        {**PEFT, f"unet.{LAYER}.lora.down.weight": 2 * ONES, f"unet.{LAYER}.lora.up.weight": ONES.T},
        "are the same of one layer",
    ),
    "two alphas": (
        {**PEFT, f"unet.{LAYER}.alpha": np.ones(1, np.float32), f"unet.{LAYER}.lora.alpha": np.ones(1, np.float32)},
        "are the same of one layer",
    ),
    "two magnitudes": (
        {
            **pair(),
            f"{Q}.dora_scale": np.ones((128, 1), np.float32),
            f"{Q}.lora_magnitude_vector": np.ones(128, np.float32),
        },
        "two magnitudes for a weight",
    ),
    "alphas": ({**pair(), f"{Q}.alpha": np.ones(3, np.float32)}, "an alpha of several numbers for a weight"),
    "no alpha": ({**pair(), f"{Q}.alpha": np.ones(0, np.float32)}, "an empty alpha for a weight"),
    "rank 0": (pair(rank=0), "an empty lora_down for a weight"),
    "turned kernel": (
        {
            "lora_unet_conv_in.lora_down.weight": np.ones((2, 3, 3, 4), np.float32),
            "lora_unet_conv_in.lora_up.weight": np.ones((64, 2, 1, 1), np.float32),
        },
        r"down \[2, 3, 3, 4\] for a weight \[64, 4, 3, 3\]",
    ),
    "PEFT": (
        pair("base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"),
        "PEFT's names, and no adapter_config.json beside it",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_lora_of_this_model_is_refused_by_what_it_is(
    name: str, look: Callable[..., tuple[Path, list[str]]]
) -> None:
    tensors, message = WRONG[name]
    with pytest.raises(UserError, match=message) as refused:
        look(tensors)
    assert "\n" not in str(refused.value)


def test_without_strict_the_rest_is_merged_with_a_warning(look: Callable[..., tuple[Path, list[str]]]) -> None:
    made, (warning,) = look({**pair(), **pair("lora_unet_nowhere")}, strict=False)
    assert len(json.loads((made / "unet.json").read_text())) == 1
    assert "2 of 4 tensors are of no use here" in warning and warning.endswith("the build goes on without them")


def test_what_is_for_components_that_are_not_built_is_left(
    look: Callable[..., tuple[Path, list[str]]], job: Any
) -> None:
    only = {place: built for place, built in job.built.items() if place == "unet"}
    encoder = pair("lora_te_text_model_encoder_layers_0_mlp_fc1", 128, 512)
    made, warned = look({**pair(), **encoder}, built=only, others=("text_encoder",))
    assert not warned and not (made / "text_encoder.json").exists()
    with pytest.raises(UserError, match="it changes nothing that is built, but text_encoder"):
        look(encoder, built=only, others=("text_encoder",))


def test_a_pickle_is_opened_only_where_it_is_allowed(job: Any, tmp_path: Path) -> None:
    torch.save({key: torch.from_numpy(value) for key, value in pair().items()}, tmp_path / "x.bin")
    source = SourceFacts(kind="local", id="./x.bin", path=str(tmp_path), files={})
    with pytest.raises(UserError, match="is a pickle, and loading a pickle can run code"):
        run(replace(job, source=source, file="x.bin"), tmp_path / "refused")
    made = run(replace(job, source=source, file="x.bin", allow_pickle=True), tmp_path / "made")
    assert len(json.loads((made / "unet.json").read_text())) == 1


def test_of_several_files_one_must_be_named(job: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file(pair(), tmp_path / f"{name}.safetensors")
    source = SourceFacts(kind="local", id="./x", path=str(tmp_path), files={})
    with pytest.raises(
        UserError, match=r"several files of tensors \(a.safetensors, b.safetensors\); name one: `file:`"
    ):
        run(replace(job, source=source, file=None), tmp_path / "refused")
    with pytest.raises(
        UserError, match=r"there is no c.safetensors; files of tensors there: a.safetensors, b.safetensors"
    ):
        run(replace(job, source=source, file="c.safetensors"), tmp_path / "refused-too")
    save_file(pair(), tmp_path / "pytorch_lora_weights.safetensors")
    made = run(replace(job, source=source, file=None), tmp_path / "made")
    assert json.loads((made / "files.json").read_text())["files"][0]["path"] == "pytorch_lora_weights.safetensors"
