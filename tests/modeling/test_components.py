"""Components keep the names of their parameters, whatever is done to their modules."""

from typing import Any

import pytest
import torch

from sdbuild.errors import UserError
from sdbuild.modeling.attention import VARIANTS
from sdbuild.modeling.components import PREFIX, Shape, build
from tests.architectures import CONFIGS, UNET, UNET_2, UNET_XL, make


@pytest.mark.parametrize("attention", list(VARIANTS))
@pytest.mark.parametrize(("kind", "config"), [("unet", UNET), ("unet", UNET_2), ("unet_xl", UNET_XL)])
def test_a_reshaped_unet_takes_the_checkpoint_of_the_original(
    kind: str, config: dict[str, Any], attention: str
) -> None:
    component = build(kind, config, Shape(64, 64, 2, attention=attention))
    ours = {name.removeprefix(PREFIX): tensor for name, tensor in component.module.named_parameters()}
    theirs = make(kind, config).state_dict()
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert [n for n in tensor.shape if n != 1] == [n for n in theirs[name].shape if n != 1]


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_no_memory_is_taken(kind: str) -> None:
    component = build(kind, CONFIGS[kind], Shape(64, 64, 2))
    assert {tensor.device.type for tensor in component.module.parameters()} == {"meta"}
    assert not component.module.training


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("length", [1, 512, 513, 1300])
def test_attention_variants_agree(heads: int, length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 16, 1, length, generator=generator)
    k, v = (torch.randn(2, 16, 1, 77, generator=generator) for _ in range(2))
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(t.view(2, heads, 16 // heads, -1).transpose(2, 3) for t in (q, k, v))
    )
    for attend in VARIANTS.values():
        torch.testing.assert_close(attend(q, k, v, heads), expected.transpose(2, 3).reshape(2, 16, 1, length))


def test_a_transformer_of_another_family_is_refused() -> None:
    config = UNET | {"cross_attention_dim": [64, 64]}
    with pytest.raises(UserError, match="cross_attention_dim"):
        build("unet", config, Shape(64, 64, 2))
