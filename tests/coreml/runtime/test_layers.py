"""Convolution, pooling, normalisation, matrix products and recurrent layers against torch."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from coremltools.converters.mil.mil.ops.defs._utils import aggregated_pad
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbuild.coreml.runtime.ops import conv
from tests.coreml.runtime.support import (
    IOS16,
    IOS17,
    IOS18,
    Array,
    assert_close,
    assert_inferred,
    drawn,
    floats,
    mb,
    run,
)

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """A window that slides over an input: its parameters as MIL has them, and the paddings before and after."""
    rank = draw(st.integers(1, 3))
    small = st.integers(1, 3)
    size = [draw(st.integers(6, 9)) for _ in range(rank)]
    kernel = [draw(small) for _ in range(rank)]
    strides = [draw(st.integers(1, 2)) for _ in range(rank)]
    kind = draw(st.sampled_from(["valid", "custom", "same", "same_lower"]))
    return {
        "size": size,
        "kernel": kernel,
        "strides": strides,
        "pad_type": kind,
        "pad": [draw(st.integers(0, 2)) for _ in range(2 * rank)],
    }


def around(window: dict[str, Any], dilations: list[int]) -> list[int]:
    """How much is padded, in torch's order, from the total that coremltools infers."""
    if window["pad_type"] == "custom":
        pairs = list(zip(window["pad"][::2], window["pad"][1::2], strict=True))
    else:
        totals = aggregated_pad(window["pad_type"], window["kernel"], window["size"], window["strides"], dilations)
        pairs = [(total // 2, total - total // 2) for total in totals]
        if window["pad_type"] == "same_lower":
            pairs = [(after, before) for before, after in pairs]
    return [n for pair in reversed(pairs) for n in pair]


def custom(window: dict[str, Any]) -> dict[str, Any]:
    pad = {"pad": window["pad"]} if window["pad_type"] == "custom" else {}
    return {"strides": window["strides"], "pad_type": window["pad_type"], **pad}


@given(windows(), st.integers(1, 2), st.booleans(), st.integers(1, 2), st.booleans())
@settings(drawn, max_examples=15)
def test_conv(window: dict[str, Any], groups: int, biased: bool, dilation: int, constant: bool) -> None:
    dilation = dilation if constant else 1
    dilations = [dilation] * len(window["size"])
    x = floats([2, 2 * groups, *window["size"]], 1)
    weight, bias = floats([4, 2, *window["kernel"]], 2), floats([4], 3) if biased else None
    extra = {"dilations": dilations, "groups": groups, **custom(window), **({"bias": bias} if biased else {})}
    padded = F.pad(tensor(x), around(window, dilations))
    expected = _CONV[len(window["size"])](
        padded, tensor(weight), None if bias is None else tensor(bias), window["strides"], 0, dilations, groups
    )
    if constant:
        actual = run(lambda x: mb.conv(x=x, weight=weight, **extra), {"x": x})
    else:
        actual = run(lambda x, weight: mb.conv(x=x, weight=weight, **extra), {"x": x, "weight": weight})
    assert_close(actual, [expected.numpy()])


@given(windows(), st.integers(1, 2), st.integers(0, 1), st.integers(1, 2))
@drawn
def test_conv_transpose(window: dict[str, Any], groups: int, pad: int, dilation: int) -> None:
    rank = len(window["size"])
    kernel = [size + 1 for size in window["kernel"]]
    x, weight, bias = floats([2, 4, *window["size"]], 1), floats([4, 3, *kernel], 2), floats([3 * groups], 3)
    extra = {"strides": window["strides"], "dilations": [dilation] * rank, "groups": groups, "bias": bias}
    for kind in ("valid", "custom"):
        inside = pad if kind == "custom" else 0
        expected = _TRANSPOSED[rank](
            *(tensor(each) for each in (x, weight, bias)), window["strides"], inside, 0, groups, dilation
        )
        more = {"pad_type": kind, **({"pad": [pad] * 2 * rank} if kind == "custom" else {})}
        actual = run(lambda x, more=more: mb.conv_transpose(x=x, weight=weight, **extra, **more), {"x": x})
        assert_close(actual, [expected.numpy()])


@pytest.mark.parametrize("output_padding", [0, 1])
def test_conv_transpose_of_a_given_size(output_padding: int) -> None:
    x, weight = floats([1, 4, 5, 6], 1), floats([4, 3, 3, 3], 2)
    expected = F.conv_transpose2d(tensor(x), tensor(weight), None, 2, 1, output_padding)
    extra = {"strides": [2, 2], "pad_type": "custom", "pad": [1] * 4, "output_shape": list(expected.shape)}
    assert_close(run(lambda x: mb.conv_transpose(x=x, weight=weight, **extra), {"x": x}), [expected.numpy()])


def test_conv_transpose_same_crops_evenly() -> None:
    x, weight = floats([1, 2, 4], 1), floats([2, 3, 4], 2)
    full = F.conv_transpose1d(tensor(x), tensor(weight), None, 2)
    actual = run(lambda x: mb.conv_transpose(x=x, weight=weight, strides=[2], pad_type="same"), {"x": x})
    assert_close(actual, [full[:, :, 1:-1].numpy()])


@given(windows(), st.sampled_from(["avg_pool", "avg_pool_inside", "max_pool", "l2_pool"]))
@settings(drawn, max_examples=20)
def test_pool(window: dict[str, Any], kind: str) -> None:
    rank = len(window["size"])
    if kind == "l2_pool" and rank == 3:
        return
    x = floats([2, 3, *window["size"]], 1)
    spread, kernel = around(window, [1] * rank), window["kernel"]
    fill = -torch.inf if kind == "max_pool" else 0.0
    views, inside = F.pad(tensor(x), spread, value=fill), F.pad(torch.ones(x.shape), spread)
    for axis in range(rank):
        views, inside = (each.unfold(2 + axis, kernel[axis], window["strides"][axis]) for each in (views, inside))
    views, inside = views.flatten(2 + rank), inside.flatten(2 + rank)
    if kind == "avg_pool_inside" and not inside.sum(-1).all():
        return  # a window that holds padding alone has no average
    expected = {
        "avg_pool": lambda: views.mean(-1),
        "avg_pool_inside": lambda: views.sum(-1) / inside.sum(-1),
        "max_pool": lambda: views.amax(-1),
        "l2_pool": lambda: views.square().sum(-1).sqrt(),
    }[kind]()
    extra = {"exclude_padding_from_average": True} if kind == "avg_pool_inside" else {}
    pool = getattr(mb, kind.replace("_inside", ""))
    actual = run(lambda x: pool(x=x, kernel_sizes=kernel, **custom(window), **extra), {"x": x})
    assert_close(actual, [expected.numpy()])


@pytest.mark.parametrize("exclude", [False, True])
def test_pool_ceil_mode(exclude: bool) -> None:
    x = floats([1, 2, 7, 8])
    window = {"kernel_sizes": [3, 2], "strides": [2, 3], "pad_type": "custom", "pad": [1, 1, 1, 1], "ceil_mode": True}
    average = run(lambda x: mb.avg_pool(x=x, exclude_padding_from_average=exclude, **window), {"x": x})
    assert_close(average, [F.avg_pool2d(tensor(x), (3, 2), (2, 3), 1, True, not exclude).numpy()])
    assert_close(
        run(lambda x: mb.max_pool(x=x, **window), {"x": x}),
        [F.max_pool2d(tensor(x), (3, 2), (2, 3), 1, 1, True).numpy()],
    )


@given(st.integers(1, 3), st.booleans(), st.sampled_from([1e-5, 1e-2]))
@drawn
def test_norms_by_channel(dims: int, affine: bool, epsilon: float) -> None:
    x = floats([2, 3, *[4, 5, 2][:dims]], 1)
    mean, variance, gamma, beta = floats([3], 2), floats([3], 3, 0.1, 2), floats([3], 4), floats([3], 5)
    scaled = {"gamma": gamma, "beta": beta} if affine else {}
    pair = (tensor(gamma), tensor(beta)) if affine else (None, None)
    batch = F.batch_norm(tensor(x), tensor(mean), tensor(variance), *pair, eps=epsilon)
    extra = {"epsilon": np.float32(epsilon), **scaled}
    actual = run(lambda x: mb.batch_norm(x=x, mean=mean, variance=variance, **extra), {"x": x})
    assert_close(actual, [batch.numpy()])
    if dims < 3:
        instance = F.instance_norm(tensor(x), weight=pair[0], bias=pair[1], eps=epsilon)
        assert_close(run(lambda x: mb.instance_norm(x=x, **extra), {"x": x}), [instance.numpy()])


@given(st.sampled_from([[-1], [2], [1, 2], [0], [0, 2], [0, 1, 2]]), st.booleans())
@settings(drawn, max_examples=14)
def test_layer_norm(axes: list[int], affine: bool) -> None:
    x = floats([2, 3, 4], 1)
    shape = [x.shape[axis] for axis in axes]
    scaled = {"gamma": floats(shape, 2), "beta": floats(shape, 3)} if affine else {}
    extra = {"epsilon": np.float32(1e-3), "axes": axes, **scaled}
    assert_inferred(lambda x: mb.layer_norm(x=x, **extra), {"x": x})


def test_other_norms() -> None:
    x = floats([2, 5, 3, 4], 1)
    assert_inferred(lambda x: mb.l2_norm(x=x, epsilon=np.float32(1e-3)), {"x": x})
    x = floats([2, 5, 3, 4], 1)
    numbers = {"alpha": np.float32(0.3), "beta": np.float32(0.7), "k": np.float32(1.5)}
    actual = run(lambda x: mb.local_response_norm(x=x, size=3, **numbers), {"x": x})
    assert_close(actual, [F.local_response_norm(tensor(x), 3, 0.3, 0.7, 1.5).numpy()])


@given(st.booleans(), st.booleans(), st.sampled_from([((), ()), ((2,), (2,)), ((3, 1), (1, 2)), ((2,), ())]))
@drawn
def test_matmul(left: bool, right: bool, batch: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    x = floats([*batch[0], *((4, 3) if left else (3, 4))], 1)
    y = floats([*batch[1], *((5, 4) if right else (4, 5))], 2)
    turned = {"transpose_x": left, "transpose_y": right}
    assert_inferred(lambda x, y: mb.matmul(x=x, y=y, **turned), {"x": x, "y": y})
    assert_inferred(lambda x: mb.matmul(x=x, y=y, **turned), {"x": x})


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", [[4], [3, 4], [2, 3, 4]])
def test_linear(shape: list[int], biased: bool) -> None:
    x, weight, bias = floats(shape, 1), floats([5, 4], 2), {"bias": floats([5], 3)} if biased else {}
    assert_inferred(lambda x: mb.linear(x=x, weight=weight, **bias), {"x": x})


@pytest.mark.parametrize(
    ("equation", "left", "right"),
    [
        ("nchw,nwhu->nchu", [2, 3, 4, 5], [2, 5, 4, 6]),
        ("abcd,adce->abce", [1, 3, 4, 5], [2, 5, 1, 6]),
        ("chw,whr->chr", [3, 4, 5], [5, 4, 6]),
    ],
)
def test_einsum(equation: str, left: list[int], right: list[int]) -> None:
    x, y = floats(left, 1), floats(right, 2)
    assert_inferred(lambda x, y: mb.einsum(values=(x, y), equation=equation), {"x": x, "y": y})


@pytest.mark.parametrize("mask", ["none", "float", "bool"])
def test_scaled_dot_product_attention(mask: str) -> None:
    inputs = {"q": floats([2, 3, 4, 8], 1), "k": floats([2, 3, 5, 8], 2), "v": floats([2, 3, 5, 6], 3)}
    if mask == "float":
        inputs["m"] = floats([4, 5], 4)
    elif mask == "bool":
        inputs["m"] = (np.arange(20).reshape(4, 5) % 3) > 0

    def attend(q: Any, k: Any, v: Any, m: Any = None) -> Any:
        extra = {} if m is None else {"attn_mask": m}
        return mb.scaled_dot_product_attention(query=q, key=k, value=v, **extra)

    assert_inferred(attend, inputs, IOS18)


def reordered(weight: torch.Tensor, order: list[int]) -> Array:
    """Rows of torch's gates in the order that MIL has them."""
    return torch.cat([weight.chunk(len(order))[i] for i in order]).detach().numpy()


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("sequence", [True, False])
def test_lstm(direction: str, sequence: bool) -> None:
    torch.manual_seed(0)
    twice = direction == "bidirectional"
    layer = torch.nn.LSTM(3, 4, bidirectional=twice)
    x, h, c = floats([5, 2, 3], 1), floats([2 if twice else 1, 2, 4], 2), floats([2 if twice else 1, 2, 4], 3)
    order = [0, 1, 3, 2]  # torch: input, forget, cell, output
    weights = {
        "weight_ih": reordered(layer.weight_ih_l0, order),
        "weight_hh": reordered(layer.weight_hh_l0, order),
        "bias": reordered(layer.bias_ih_l0 + layer.bias_hh_l0, order),
    }
    if twice:
        weights["weight_ih_back"] = reordered(layer.weight_ih_l0_reverse, order)
        weights["weight_hh_back"] = reordered(layer.weight_hh_l0_reverse, order)
        weights["bias_back"] = reordered(layer.bias_ih_l0_reverse + layer.bias_hh_l0_reverse, order)
    with torch.no_grad():
        out, (last_h, last_c) = layer(tensor(x), (tensor(h), tensor(c)))
    inputs = {"x": x, "h": np.concatenate(list(h), -1), "c": np.concatenate(list(c), -1)}
    actual = run(
        lambda x, h, c: mb.lstm(
            x=x, initial_h=h, initial_c=c, direction=direction, output_sequence=sequence, **weights
        ),
        inputs,
    )
    joined_h, joined_c = (np.concatenate(list(each.numpy()), -1) for each in (last_h, last_c))
    assert_close(actual, [out.numpy() if sequence else joined_h[None], joined_h, joined_c])


@pytest.mark.parametrize("reverse", [True, False])
def test_gru_and_rnn(reverse: bool) -> None:
    torch.manual_seed(0)
    x, h = floats([5, 2, 3], 1), floats([2, 4], 2)
    flipped = tensor(x).flip(0) if reverse else tensor(x)
    extra = {"direction": "reverse" if reverse else "forward", "output_sequence": True}
    gru, rnn = torch.nn.GRU(3, 4), torch.nn.RNN(3, 4)
    torch.nn.init.zeros_(gru.bias_ih_l0)
    with torch.no_grad():
        expected = {kind: kind(flipped, tensor(h)[None]) for kind in (gru, rnn)}
    order = [0, 2, 1]  # torch: reset, update, new
    weights = {
        gru: {name: reordered(getattr(gru, f"{name}_l0"), order) for name in ("weight_ih", "weight_hh")}
        | {"bias": reordered(gru.bias_hh_l0, order)},
        rnn: {name: getattr(rnn, f"{name}_l0").detach().numpy() for name in ("weight_ih", "weight_hh")}
        | {"bias": (rnn.bias_ih_l0 + rnn.bias_hh_l0).detach().numpy()},
    }
    for kind, make in ((gru, mb.gru), (rnn, mb.rnn)):
        out, last = expected[kind]
        actual = run(
            lambda x, h, make=make, kind=kind: make(x=x, initial_h=h, **weights[kind], **extra), {"x": x, "h": h}, IOS16
        )
        assert_close(actual, [(out.flip(0) if reverse else out).numpy(), last[0].numpy()])


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize(
    ("pad", "dilation", "groups"),
    [([1, 1, 1, 1], 1, 1), ([3, 0, 1, 2], 2, 2), ([0, 0, 0, 0], 1, 1), ([50, 9, 1, 1], 1, 1), ([0, 60, 0, 0], 2, 1)],
)
def test_a_large_image_is_convolved_in_strips(
    monkeypatch: pytest.MonkeyPatch, rows: int, pad: list[int], dilation: int, groups: int
) -> None:
    x, weight, bias = floats((2, 4, 37, 11)), floats((6, 4 // groups, 3, 3), 1), floats((6,), 2)
    parameters = {"pad_type": "custom", "pad": pad, "dilations": [dilation] * 2, "groups": groups}

    def result() -> list[Array]:
        return run(lambda x: mb.conv(x=x, weight=weight, bias=bias, **parameters), {"x": x})

    whole, calls = result(), []
    conv2d = F.conv2d
    monkeypatch.setattr(conv, "_LARGE", x.nbytes)
    monkeypatch.setattr(conv, "_STRIP", rows * x.nbytes // 37)
    monkeypatch.setattr(F, "conv2d", lambda *given, **named: calls.append(given[0].shape[2]) or conv2d(*given, **named))
    assert_close(result(), whole)
    height = 37 + pad[0] + pad[1] - 2 * dilation
    assert len(calls) == -(-height // rows)
    assert max(calls) <= rows + 2 * dilation


def test_conv_refuses_what_it_cannot() -> None:
    from sdbuild.coreml.runtime import UnsupportedError

    x = floats([2, 3, 4], 1)
    with pytest.raises(UnsupportedError, match=r"operation \d+ \(lstm -> .*\): peepholes"):
        run(
            lambda x: mb.lstm(
                x=x,
                initial_h=floats([3, 4]),
                initial_c=floats([3, 4]),
                weight_ih=floats([16, 4]),
                weight_hh=floats([16, 4]),
                peephole=floats([12]),
            ),
            {"x": x},
            IOS17,
        )
