"""Every lowering against torch, one small graph each; a lowering without a graph here fails the last test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.coreml.convert.lowering import LOWERINGS
from sdbuild.coreml.runtime import load
from sdbuild.errors import UserError
from sdbuild.modeling.tracing import graph_of
from sdbuild.opset import Opset

MATRIX, ROW = torch.arange(16.0).reshape(4, 4) - 5, torch.arange(4.0)
GRAPHS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "select": lambda x: x.select(1, -1) + x[0, 1],
    "slice": lambda x: x[:, 1:, ::2, -3:] * 2,
    "transpose": lambda x: x.transpose(1, -1).permute(0, 3, 1, 2) + x.reshape(24, 4).t().reshape(2, 3, 4, 4),
    "chunk": lambda x: torch.cat([*x.chunk(2, dim=-1)][::-1], dim=-1),
    "split": lambda x: torch.concat(torch.split(x, [1, 2], dim=1)[::-1], dim=1),
    "expand": lambda x: x[:, :1].expand(2, 3, 4, 4) + x.mean(dim=(2, 3), keepdim=True).unsqueeze(0).squeeze(0),
    "mean": lambda x: x.mean(dim=1),
    "pow": lambda x: x**2 + x.abs() ** 3.0,
    "unary": lambda x: (
        x.sin() + x.cos() + x.exp() + x.abs().sqrt() + x.tanh() + x.sigmoid() + x.relu() + functional.silu(x)
    ),
    "binary": lambda x: torch.maximum(x, x * -1) - torch.minimum(x, x * 0.5) / 3 + torch.add(x, x * x, alpha=2) - 1,
    "compare": lambda x: (
        (x > 0.1).float()
        + (x >= 0.2).float()
        + (x < 0).float()
        + (x <= 0).float()
        + (x == 0).float()
        + (x <= x * 2).float()
    ),
    "equal": lambda x: (x.to(torch.int32) == 1).float() + (x.to(torch.int32) == x.abs().to(torch.int32)).float(),
    "amax": lambda x: x.amax(dim=1, keepdim=True) * x.amax(dim=(2, -1))[:, :, None, None],
    "vector norm": lambda x: x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True),
    "of weights alone": lambda x: (
        x @ (MATRIX / torch.linalg.vector_norm(MATRIX, dim=1, keepdim=True)).transpose(0, 1)
        + torch.cat([ROW.expand(2, 3, 1, -1), x[:, :, 1:]], dim=2)
    ),
    "argmax": lambda x: x.argmax(dim=-1).float(),
    "softmax": lambda x: x.softmax(dim=1),
    "matmul": lambda x: torch.matmul(x.transpose(-1, -2), x) + torch.matmul(x, x.transpose(-1, -2)) + x @ x,
    "bmm": lambda x: torch.bmm(x[0], x[1]),
    "einsum": lambda x: torch.einsum("nchw,nwhu->nchu", x.permute(0, 2, 1, 3), x.permute(0, 3, 1, 2)),
    "einsum swapped": lambda x: torch.einsum("bchq,bkhc->bkhq", x.permute(0, 3, 1, 2), x.permute(0, 2, 1, 3)),
    "pad": lambda x: functional.pad(x, (0, 1, 2, 0)) * functional.pad(x, (1, 0, 1, 1), value=0.5),
    "embedding of positions": lambda x: (
        functional.embedding(torch.arange(2)[None], torch.arange(6.0).reshape(2, 3)) + x[0, 0, 0, 0]
    ),
    "embedding of two orders": lambda x: (
        functional.embedding(torch.stack([torch.arange(4), torch.arange(3, -1, -1)]), MATRIX) + x[:, 0]
    ),
    "scaled conv": lambda x: (
        functional.conv2d(x, torch.ones(2, 3, 1, 1), torch.ones(2)) * 0.3
        + functional.conv2d(x, torch.ones(2, 3, 1, 1)) * 0.3
        + functional.conv2d(x + 1, torch.ones(2, 3, 1, 1)) * 0.3 * 4.0
    ),
    "attention of heads": lambda x: (
        functional.scaled_dot_product_attention(x.transpose(1, 2), x.transpose(1, 2) * 2, x.transpose(1, 2))
        + functional.scaled_dot_product_attention(x.transpose(1, 2), x.transpose(1, 2), x.transpose(1, 2), scale=0.3)
    ),
    "embedding": lambda x: functional.embedding(x.abs().to(torch.int32), torch.arange(60.0).reshape(20, 3)),
    "index": lambda x: x[torch.tensor([1, 0]), x[:, 0, 0, 0].abs().to(torch.int64)],
    "linear": lambda x: functional.linear(x, torch.arange(8.0).reshape(2, 4) / 10, torch.tensor([1.0, 2.0])),
    "conv": lambda x: functional.conv2d(x, torch.ones(6, 1, 2, 3) / 5, stride=2, padding=(1, 2), dilation=1, groups=3),
    "conv valid": lambda x: functional.conv2d(x, torch.ones(2, 3, 2, 2), torch.ones(2), padding="valid"),
    "layer norm": lambda x: (
        functional.layer_norm(x, (4, 4)) + functional.layer_norm(x, (4,), torch.ones(4) * 2, torch.ones(4))
    ),
    "group norm": lambda x: (
        functional.group_norm(x, 3)
        + functional.group_norm(x, 1, torch.tensor([1.0, 2, 3]), torch.ones(3))
        + functional.group_norm(x, 1, torch.tensor([1.0, 2, 3]))
    ),
    "group norm of sequences": lambda x: functional.group_norm(
        x.flatten(2).relu(), 3, torch.ones(3) * 2, torch.ones(3)
    ),
    "attention": lambda x: functional.scaled_dot_product_attention(x, x * 2, x + 1),
    "causal attention": lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.3),
    "masked attention": lambda x: functional.scaled_dot_product_attention(x, x, x, torch.eye(4) * -2),
    "gelu": lambda x: functional.gelu(x) + functional.gelu(x, approximate="tanh"),
    "upsample": lambda x: functional.interpolate(x, scale_factor=2.0) + functional.interpolate(x, size=(8, 8)),
    "same": lambda x: functional.dropout(x.clone().contiguous(), training=False) + torch.tensor(1.0),
    "unflatten": lambda x: x.flatten(1).unflatten(1, (6, 8)).view(2, 48),
    "squeeze": lambda x: x[:, :1].squeeze(1) + x[:1, :1].squeeze((0, 1)),
    "cast": lambda x: x.to(torch.int32).to(torch.float32) + (x.relu() / 4).to(torch.bool).to(torch.float32),
}
REACHED: set[str] = set()


class Module(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.function(x),)


@pytest.mark.parametrize("opset", [Opset.IOS16, Opset.IOS18])
@pytest.mark.parametrize("name", list(GRAPHS))
def test_as_torch(name: str, opset: Opset, tmp_path: Path) -> None:
    x = torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(3))
    graph, constants = graph_of(Module(GRAPHS[name]), (x,))
    REACHED.update(node.op for node in graph.nodes)
    package = convert(
        graph, lambda key: constants[key].numpy(), tmp_path / "m.mlpackage", inputs=[Port("x", "float32")],
        outputs=[Port("y", "float32")], opset=opset, precision="float32", metadata=Metadata(),
    )  # fmt: skip
    result = load(package.path).predict({"x": x.numpy()})["y"]
    np.testing.assert_allclose(result, GRAPHS[name](x).numpy(), rtol=1e-4, atol=1e-5)


def _convert(function: Callable[[torch.Tensor], torch.Tensor], path: Path, opset: Opset = Opset.IOS16) -> Path:
    graph, constants = graph_of(Module(function), (torch.zeros(2, 3, 4, 4),))
    package = convert(
        graph, lambda key: constants[key].numpy(), path / "m.mlpackage", inputs=[Port("x", "float32")],
        outputs=[Port("y", "float32")], opset=opset, precision="float16", metadata=Metadata(),
    )  # fmt: skip
    return package.path


def test_a_number_that_overflows_float16_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"convert: 1e\+06 in mul_y_0 overflows float16"):
        _convert(lambda x: x * 1e6, tmp_path)


@pytest.mark.parametrize("opset", [Opset.IOS16, Opset.IOS18])
def test_a_mask_beyond_float16_masks(opset: Opset, tmp_path: Path) -> None:
    def attend(x: torch.Tensor) -> torch.Tensor:
        later = torch.arange(4)[:, None] < torch.arange(4)[None]
        return functional.scaled_dot_product_attention(x, x, x, later.float() * -1e30)

    x = torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(3))
    result = load(_convert(attend, tmp_path, opset)).predict({"x": x.numpy()})["y"]
    np.testing.assert_allclose(result, attend(x).numpy(), atol=0.02)


def test_upsampling_between_whole_factors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"from \(4, 4\) to \(6, 8\) \(aten\.\S+, node upsample_nearest2d\)"):
        _convert(lambda x: functional.interpolate(x, size=(6, 8)), tmp_path)


def test_what_is_of_weights_alone_is_no_operation(tmp_path: Path) -> None:
    x = torch.zeros(2, 3, 4, 4)
    function = GRAPHS["of weights alone"]
    graph, constants = graph_of(Module(function), (x,))
    package = convert(
        graph, lambda key: constants[key].numpy(), tmp_path / "m.mlpackage",
        inputs=[Port("x", "float32")], outputs=[Port("y", "float32")], opset=Opset.IOS17, precision="float32",
        metadata=Metadata(),
    )  # fmt: skip
    function_proto = package.spec.mlProgram.functions["main"]
    kinds = [operation.type for operation in function_proto.block_specializations["CoreML7"].operations]
    assert "matmul" in kinds
    assert not {"reduce_l2_norm", "real_div", "tile", "transpose"} & set(kinds)


def test_no_lowering_is_untested() -> None:
    if len(REACHED) < 10:
        pytest.skip("runs after the others, in the same process")
    families = {
        "aten.to.device",
        "aten.alias.default",
        "aten.contiguous.default",
        "aten.split.Tensor",
        "sdbuild.attention.default",
    }  # in test_convert
    assert sorted(set(LOWERINGS) - REACHED - families) == []
