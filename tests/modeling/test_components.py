"""Components keep the names of their parameters, whatever is done to their modules."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.attention import VARIANTS
from sdbuild.errors import UserError
from sdbuild.modeling.attention import attention
from sdbuild.modeling.tracing import PREFIX, trace
from tests.architectures import CONFIGS, UNET, UNET_2, UNET_XL, Shape, build, make


@pytest.mark.parametrize(("kind", "config"), [("unet", UNET), ("unet", UNET_2), ("unet_xl", UNET_XL)])
def test_a_reshaped_unet_takes_the_checkpoint_of_the_original(kind: str, config: dict[str, Any]) -> None:
    component = build(kind, config, Shape(64, 64, 2))
    ours = {name.removeprefix(PREFIX): tensor for name, tensor in component.module.named_parameters()}
    theirs = make(kind, config).state_dict()
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert [n for n in tensor.shape if n != 1] == [n for n in theirs[name].shape if n != 1]


@pytest.mark.parametrize(("kind", "config"), [("unet", UNET), ("unet", UNET_2), ("unet_xl", UNET_XL)])
def test_a_reshaped_unet_computes_what_the_untouched_one_does(kind: str, config: dict[str, Any]) -> None:
    shape = Shape(256, 192, 2)
    component, original = build(kind, config, shape), make(kind, config)
    state = {PREFIX + name: tensor for name, tensor in original.state_dict().items()}
    empty = component.module.state_dict()
    component.module.load_state_dict({name: state[name].reshape(empty[name].shape) for name in empty}, assign=True)
    generator = torch.Generator().manual_seed(1)
    sample, _, context, *added = (torch.randn(a.shape, generator=generator) for a in component.arguments)
    time = torch.tensor([37.0, 901.0])
    conditions = dict(zip(("time_ids", "text_embeds"), added, strict=False))
    with torch.no_grad():
        (ours,) = component.module(sample, time, context, *added)
        theirs = original(sample, time, context.squeeze(2).transpose(1, 2), added_cond_kwargs=conditions or None).sample
    noise = (ours - theirs).square().mean().sqrt()
    assert 20 * torch.log10(theirs.abs().max() / noise) > 100


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_no_memory_is_taken(kind: str) -> None:
    component = build(kind, CONFIGS[kind], Shape(64, 64, 2))
    assert {tensor.device.type for tensor in component.module.parameters()} == {"meta"}
    assert not component.module.training


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("length", [1, 512, 513, 1300])
def test_attention_and_its_variants_agree(heads: int, length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 16, 1, length, generator=generator)
    k, v = (torch.randn(2, 16, 1, 77, generator=generator) for _ in range(2))
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(t.view(2, heads, 16 // heads, -1).transpose(2, 3) for t in (q, k, v))
    )
    for attend in (attention, *VARIANTS.values()):
        torch.testing.assert_close(attend(q, k, v, heads), expected.transpose(2, 3).reshape(2, 16, 1, length))


def test_a_transformer_of_another_family_is_refused() -> None:
    config = UNET | {"cross_attention_dim": [64, 64]}
    with pytest.raises(UserError, match="cross_attention_dim"):
        build("unet", config, Shape(64, 64, 2))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "unet",
            {"norm_num_groups": 5},
            "no UNet2DConditionModel can be made of this config.json: .*divisible by num_groups",
        ),
        ("unet_xl", {"addition_time_embed_dim": None}, "trace: no unet can be made of this config.json: "),
        (
            "unet_xl",
            {"projection_class_embeddings_input_dim": 32},
            "no unet can be made of this config.json: .*negative",
        ),
        (
            "clip_text",
            {"hidden_size": 66},
            "no CLIPTextModel can be made of this config.json: .*not a multiple of the number",
        ),
        (
            "vae_decoder",
            {"up_block_types": ["Odd"] * 4},
            "no AutoencoderKL can be made .*: Odd does not exist",
        ),
    ],
)
def test_a_configuration_that_the_libraries_refuse_is_the_users_matter(
    kind: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(kind, CONFIGS[kind] | change, Shape(64, 64, 2))


def test_a_model_that_cannot_be_run_is_told_in_a_line(tmp_path: Path) -> None:
    config = CONFIGS["vae_decoder"] | {"up_block_types": ["UpDecoderBlock2D"]}
    with pytest.raises(UserError, match=r"^trace: a model of this config.json can't be run: [^\n]+bug in sdbuild$"):
        trace(build("vae_decoder", config, Shape(64, 64)), tmp_path / "graph.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"only_cross_attention": [True, False], "mid_block_only_cross_attention": True},
        {
            "layers_per_block": 2,
            "transformer_layers_per_block": [[1, 2], 1],
            "reverse_transformer_layers_per_block": [1, [1, 2, 1]],
        },
        {"mid_block_type": None},
        {"mid_block_type": "UNetMidBlock2D", "center_input_sample": True, "act_fn": "gelu"},
        {
            "down_block_types": ["CrossAttnDownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "CrossAttnUpBlock2D"],
        },
        {"time_embedding_act_fn": "gelu", "time_embedding_dim": 96},
        {"flip_sin_to_cos": False, "freq_shift": 1, "conv_in_kernel": 1, "conv_out_kernel": 1},
    ],
    ids=lambda change: ", ".join(change),
)
def test_options_that_published_models_do_not_use(change: dict[str, Any]) -> None:
    test_a_reshaped_unet_computes_what_the_untouched_one_does("unet", UNET | change)
