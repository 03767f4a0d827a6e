"""Weights by blocks, against what the block weight extension and diffusers mean by them."""

import re
from typing import Any

import pytest

from sdbuild.errors import UserError
from sdbuild.modeling.adapters.blocks import BlockWeights
from sdbuild.modeling.adapters.ldm import ldm_names
from tests.modeling.adapters.oracles import SDXL_NAMES
from tests.modeling.adapters.test_oracles import shapes

XL = [name.rpartition(".")[0] for name in shapes("sdxl")["unet"]]
ATTENTION = "attentions.0.transformer_blocks.0.attn1.to_q"


def weights(blocks: list[float] | None, weight: Any = 1.0, place: str = "unet", layers: list[str] = XL) -> BlockWeights:
    return BlockWeights({"place": place, "weight": weight, "blocks": blocks}, layers)


def sd1_layers() -> list[str]:
    """A UNet of four levels, of which the last has no attention, as Stable Diffusion 1 has it."""
    layers = [
        "conv_in",
        "conv_out",
        "mid_block.attentions.0.proj_in",
        "mid_block.resnets.0.conv1",
        "time_embedding.linear_1",
    ]
    for level in range(4):
        layers += [f"down_blocks.{level}.resnets.{n}.conv1" for n in range(2)]
        layers += [f"up_blocks.{level}.resnets.{n}.conv1" for n in range(3)]
        layers += [f"down_blocks.{level}.attentions.{n}.proj_in" for n in range(2) if level < 3]
        layers += [f"up_blocks.{level}.attentions.{n}.proj_in" for n in range(3) if level > 0]
    layers += [f"down_blocks.{level}.downsamplers.0.conv" for level in range(3)]
    return layers + [f"up_blocks.{level}.upsamplers.0.conv" for level in range(3)]


def test_compvis_names_are_those_that_people_have_in_their_files() -> None:
    names = ldm_names(XL)
    known = {layer: name.replace("_1", ".1").replace("blocks_", "blocks.") for layer, name in SDXL_NAMES.items()}
    for layer, name in known.items():
        assert re.sub(r"_(\d)", r".\1", name) == names[f"{layer}.proj_in"].removesuffix(".proj_in")
    assert names["down_blocks.0.downsamplers.0.conv"] == "input_blocks.3.0.op"
    assert names["up_blocks.0.upsamplers.0.conv"] == "output_blocks.2.2.conv"
    assert names["up_blocks.2.resnets.2.conv_shortcut"] == "output_blocks.8.0.skip_connection"
    assert names["time_embedding.linear_2"] == "time_embed.2"
    assert names["add_embedding.linear_1"] == "label_emb.0.0"
    assert names["down_blocks.1.resnets.0.time_emb_proj"] == "input_blocks.4.0.emb_layers.1"
    assert ldm_names(sd1_layers())["up_blocks.0.upsamplers.0.conv"] == "output_blocks.2.1.conv"  # no attention there


def test_each_number_of_a_list_is_a_blocks() -> None:
    long = weights([float(n) for n in range(20)])  # BASE, IN00 to IN08, MID, OUT00 to OUT08
    assert long.of("conv_in") == 1
    assert long.of("down_blocks.2.attentions.1.proj_in") == 9
    assert long.of("mid_block.resnets.1.conv1") == 10
    assert long.of("up_blocks.0.resnets.0.conv1") == 11
    assert long.of("up_blocks.2.resnets.2.conv1") == 19
    assert long.of("time_embedding.linear_1") == long.of("conv_out") == 0
    short = weights([float(n) for n in range(12)])  # BASE, IN04, IN05, IN07, IN08, MID, OUT00 to OUT05
    assert [short.of(f"down_blocks.{i}.{ATTENTION}") for i in (1, 2)] == [1, 3]
    assert short.of(f"mid_block.{ATTENTION}") == 5
    assert short.of(f"up_blocks.1.{ATTENTION}") == 9
    old = weights([float(n) for n in range(17)], layers=sd1_layers())  # BASE, IN01 … IN08, MID, OUT03 to OUT11
    assert [old.of(f"down_blocks.{i}.attentions.1.proj_in") for i in range(3)] == [2, 4, 6]
    assert old.of("up_blocks.1.attentions.0.proj_in") == 8 and old.of("up_blocks.3.attentions.2.proj_in") == 16
    full = weights([float(n) for n in range(26)], layers=sd1_layers())
    assert full.of("down_blocks.3.resnets.1.conv1") == 12 and full.of("up_blocks.0.resnets.0.conv1") == 14
    assert weights([0.5, *[9.0] * 11], place="text_encoder", layers=["encoder.layers.0.mlp.fc1"]).of("encoder") == 0.5
    assert weights([2.0] * 20, 0.25).of("conv_in") == 0.5  # both count


def test_what_a_list_cannot_mean_is_refused() -> None:
    with pytest.raises(UserError, match="a list of 12 has no number for IN00, which the file changes as well"):
        weights([1.0] * 12).of("conv_in")
    with pytest.raises(UserError, match="9 input blocks: a list for it has 12 or 20 numbers, this one has 17"):
        weights([1.0] * 17)
    with pytest.raises(UserError, match="no list is for such a model"):
        weights([1.0] * 12, layers=["down_blocks.0.resnets.0.conv1"])


def test_nested_weights_are_as_in_diffusers() -> None:
    nested = weights(None, {"down": 0.5, "up": {"block_0": 0.25, "block_1": [0.1, 0.2, 0.3]}})
    assert nested.of(f"down_blocks.2.{ATTENTION}") == nested.of("down_blocks.0.resnets.0.conv1") == 0.5
    assert nested.of(f"mid_block.{ATTENTION}") == nested.of("conv_in") == nested.of("up_blocks.2.resnets.0.conv1") == 1
    assert nested.of("up_blocks.0.upsamplers.0.conv") == 0.25
    assert [nested.of(f"up_blocks.1.attentions.{n}.proj_in") for n in range(3)] == [0.1, 0.2, 0.3]
    with pytest.raises(UserError, match="the model's UNet has no block_7 in up"):
        weights(None, {"up": {"block_7": 1.0}})
    with pytest.raises(UserError, match="block_1 in up has 3 layers, and there are 2 numbers"):
        weights(None, {"up": {"block_1": [1.0, 2.0]}})
