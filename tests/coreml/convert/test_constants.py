"""Constants that are computed with NumPy are, bit by bit, what torch computes."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers import LatentConsistencyModelPipeline

from sdbuild.coreml.convert.constants import _CONSTANT, evaluate, evaluate_weights, is_computed, is_computed_of_weights
from sdbuild.graphs.graph import Graph, Node, Parameter
from sdbuild.modeling.guidance import guidance_embedding
from sdbuild.modeling.tracing import graph_of

IDS = torch.arange
CASES: dict[str, Callable[[], torch.Tensor]] = {
    "arange": lambda: torch.arange(7) + torch.arange(3, 10) * torch.arange(0, 14, 2),
    "arange of floats": lambda: torch.arange(0, 5, dtype=torch.float32) - torch.arange(0.5, 5.5, 1.0),
    "arithmetic of integers": lambda: torch.maximum(2 - IDS(5), torch.minimum(IDS(5), -IDS(5).abs() + 3)),
    "division of integers": lambda: IDS(7) / 3,
    "a factor": lambda: torch.add(IDS(4).float(), IDS(4), alpha=0.1) * 0.1 / 7,
    "roots": lambda: IDS(100, dtype=torch.float32).sqrt(),
    "comparisons": lambda: torch.stack([
        IDS(4) == 2, IDS(4) != 2, IDS(4) < 2, IDS(4) <= 2, IDS(4) > 2, IDS(4) >= 2, IDS(4).float() * 0.1 == 0.1,
        IDS(4) < IDS(4).float() * 0.7, IDS(4) <= IDS(4) + 1,
    ]),
    "comparisons of two": lambda: torch.stack([
        IDS(4) == IDS(1, 5), IDS(4) != IDS(1, 5), IDS(4) > IDS(1, 5), IDS(4) >= IDS(4), IDS(4) < IDS(1, 5),
    ]),
    "rows of a table": lambda: torch.nn.functional.embedding(IDS(2)[None], IDS(6).float().reshape(2, 3)),
    "like another": lambda: torch.full_like(IDS(3), 2) + torch.zeros_like(IDS(3)) + torch.scalar_tensor(0.1),
    "logic": lambda: torch.bitwise_or(
        torch.logical_or(torch.logical_and(IDS(4) > 1, ~(IDS(4) > 2)), torch.bitwise_not(IDS(4) > 0)),
        torch.bitwise_and(torch.logical_not(IDS(4) < 3), IDS(4) > 0) | (IDS(4) == 1) & (IDS(4) > 0),
    ),
    "a mask": lambda: torch.full((1, 1, 5, 5), float("-inf")).triu(1).masked_fill(IDS(5) > 3, -3.5),
    "a mask of booleans": lambda: torch.where(
        (IDS(5)[None] <= IDS(5)[:, None])[None, None].expand(2, 1, 5, 5),
        torch.zeros(5), torch.full((5,), -1e4),
    ),
    "shapes": lambda: IDS(24).view(2, 3, 4).transpose(0, 2).permute(1, 0, 2)[1:, 0].unsqueeze(1).flatten(0).reshape(2, -1).t(),
    "parts": lambda: torch.cat([IDS(8)[2:7:2], IDS(8).select(0, -1)[None], torch.ones(2, dtype=torch.int64)]),
    "filled": lambda: torch.zeros(3) + torch.ones_like(IDS(3), dtype=torch.float32) * torch.eye(3).tril()
        + torch.full((3,), 0.1),
    "types": lambda: (IDS(4).to(torch.int32).to(torch.float16) / 3).to(torch.float32).clone().contiguous(),
}  # fmt: skip


class Module(torch.nn.Module):
    def __init__(self, function: Callable[[], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self) -> tuple[torch.Tensor]:
        return (self.function(),)


def computed(graph: Graph) -> np.ndarray:
    known: dict[Node, np.ndarray] = {}

    def of(argument: object) -> object:
        if isinstance(argument, list | tuple):
            return [of(each) for each in argument]
        return known[argument] if isinstance(argument, Node) else argument

    for node in graph.nodes:
        assert is_computed(node), node.op
        REACHED.add(node.op)
        known[node] = evaluate(node, of(node.args), {key: of(each) for key, each in node.kwargs.items()})
    return known[graph.outputs[0]]


REACHED: set[str] = set()


@pytest.mark.parametrize("name", list(CASES))
def test_as_torch(name: str) -> None:
    graph, constants = graph_of(Module(CASES[name]), ())
    assert constants == {}
    result, expected = computed(graph), CASES[name]().numpy()
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    assert result.tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("channels", [32, 64, 256, 320])
@pytest.mark.parametrize("shift", [0, 1])
def test_frequencies_are_torchs_in_float16_and_the_nearest_in_float32(channels: int, shift: int) -> None:
    """As diffusers makes them of a timestep. torch's own float32 differs with the machine, in the last bit."""
    half = channels // 2

    def frequencies() -> torch.Tensor:
        return torch.exp(-math.log(10000) * torch.arange(0, half, dtype=torch.float32) / (half - shift))

    result = computed(graph_of(Module(frequencies), ())[0])
    expected = frequencies().numpy()
    np.testing.assert_array_equal(result.astype(np.float16), expected.astype(np.float16))
    np.testing.assert_array_max_ulp(result, expected, 1)
    exponents = (-math.log(10000) * torch.arange(0, half, dtype=torch.float32) / (half - shift)).numpy()
    np.testing.assert_array_equal(result, np.array([math.exp(each) for each in exponents.tolist()], np.float32))


@pytest.mark.parametrize("width", [256, 33])
@pytest.mark.parametrize("scale", [1.0, 7.5, 14.0])
def test_guidance_is_embedded_as_diffusers_does(scale: float, width: int) -> None:
    """Angles go up to thousands of radians, so the last bit of a frequency shows in the fourth digit of its sine."""
    graph, constants = graph_of(Module(lambda: guidance_embedding(scale, width, torch.device("cpu"))), ())
    assert constants == {}
    embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
    theirs = embed(None, torch.tensor([scale - 1]), embedding_dim=width).numpy()
    np.testing.assert_allclose(computed(graph), theirs, rtol=0, atol=(scale - 1) * 1000 * 2**-22)


def test_what_a_layer_makes_of_a_constant_is_computed_once() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(5, 3, bias=False)

        def forward(self) -> tuple[torch.Tensor]:
            return (self.layer(torch.arange(5, dtype=torch.float32)[None]),)

    module = Layer()
    graph, _ = graph_of(module, ())
    (node,) = (each for each in graph.nodes if each.op == "aten.linear.default")
    assert is_computed_of_weights(node)
    weight = module.layer.weight.detach().numpy()
    result = evaluate_weights(node, [np.arange(5, dtype=np.float32)[None], weight])
    assert (result.dtype, result.shape) == (np.float32, node.shape)
    np.testing.assert_allclose(result, module()[0].detach().numpy(), rtol=1e-6)


def test_no_operation_is_untested() -> None:
    if len(REACHED) < 10:
        pytest.skip("runs after the others, in the same process")
    apart = {"aten.exp.default", "aten.sin.default", "aten.cos.default"}
    same = {name for name, function in _CONSTANT.items() if function is _CONSTANT["aten.clone.default"]}
    assert sorted(set(_CONSTANT) - REACHED - same - apart) == []


@pytest.mark.parametrize("width", [1, 7, 8, 48, 100, 768])
def test_weights_are_brought_to_length_one_as_torch_does(width: int) -> None:
    class Unit(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = torch.nn.Parameter(torch.randn(17, width, generator=torch.Generator().manual_seed(0)))

        def forward(self) -> tuple[torch.Tensor]:
            return (-(self.rows / torch.linalg.vector_norm(self.rows, dim=1, keepdim=True)),)

    module = Unit()
    graph, _ = graph_of(module, ())
    rows, known = module.rows.detach().numpy(), dict[Node, np.ndarray]()
    for node in graph.nodes:
        assert is_computed_of_weights(node)
        arguments = [
            rows if isinstance(each, Parameter) else known[each] if isinstance(each, Node) else each
            for each in node.args
        ]
        known[node] = evaluate_weights(node, arguments)
    with torch.no_grad():
        assert known[graph.outputs[0]].tobytes() == module()[0].numpy().tobytes()
