"""Recurrent layers, stepped one element of the sequence after the other."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "linear": lambda x: x,
}


def _activation(call: Call, name: str, default: str) -> Callable[[Tensor], Tensor]:
    return _ACTIVATIONS[call.text(name, default, choices=tuple(_ACTIVATIONS))]


def _optional(gates: Tensor, bias: Tensor | None) -> Tensor:
    return gates if bias is None else gates + bias


@op("lstm")
def _lstm(call: Call) -> Bound:
    direction = call.text("direction", "forward", choices=("forward", "reverse", "bidirectional"))
    if call.has("peephole") or call.has("peephole_back"):
        raise call.unsupported("peepholes")
    gate = _activation(call, "recurrent_activation", "sigmoid")
    cell = _activation(call, "cell_activation", "tanh")
    final = _activation(call, "activation", "tanh")
    sequence = call.truth("output_sequence", False)
    clip = call.number("clip") if call.has("clip") else None

    def one_way(
        x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None, backward: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = _optional(F.linear(x, w_ih), bias)
        steps = []
        for t in range(x.shape[0] - 1, -1, -1) if backward else range(x.shape[0]):
            i, f, o, z = (inputs[t] + F.linear(h, w_hh)).chunk(4, -1)
            c = gate(f) * c + gate(i) * cell(z)
            if clip is not None:
                c = c.clamp(-clip, clip)
            h = gate(o) * final(c)
            steps.append(h)
        if backward:
            steps.reverse()
        return (torch.stack(steps) if sequence else h.unsqueeze(0)), h, c

    def lstm(x: Tensor, h: Tensor, c: Tensor, *w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if direction != "bidirectional":
            return one_way(x, h, c, w[0], w[1], w[2], direction == "reverse")
        (h_forth, h_back), (c_forth, c_back) = h.chunk(2, -1), c.chunk(2, -1)
        forth = one_way(x, h_forth, c_forth, w[0], w[1], w[2], False)
        back = one_way(x, h_back, c_back, w[3], w[4], w[5], True)
        out, last_h, last_c = (torch.cat(pair, -1) for pair in zip(forth, back, strict=True))
        return out, last_h, last_c

    names = ("weight_ih", "weight_hh", "bias?", "weight_ih_back?", "weight_hh_back?", "bias_back?")
    return call.bind(lstm, "x", "initial_h", "initial_c", *names)


@op("gru")
def _gru(call: Call) -> Bound:
    backward = call.text("direction", "forward", choices=("forward", "reverse")) == "reverse"
    gate, cell = _activation(call, "recurrent_activation", "sigmoid"), _activation(call, "activation", "tanh")
    sequence = call.truth("output_sequence", False)

    def gru(
        x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None, input_bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        inputs = _optional(F.linear(x, w_ih), input_bias)
        steps = []
        for t in range(x.shape[0] - 1, -1, -1) if backward else range(x.shape[0]):
            (r_x, o_x, z_x), (r_h, o_h, z_h) = inputs[t].chunk(3, -1), _optional(F.linear(h, w_hh), bias).chunk(3, -1)
            z = gate(z_x + z_h)
            h = (1 - z) * cell(o_x + gate(r_x + r_h) * o_h) + z * h
            steps.append(h)
        if backward:
            steps.reverse()
        return (torch.stack(steps) if sequence else h.unsqueeze(0)), h

    return call.bind(gru, "x", "initial_h", "weight_ih", "weight_hh", "bias?", "input_bias?")


@op("rnn")
def _rnn(call: Call) -> Bound:
    backward = call.text("direction", "forward", choices=("forward", "reverse")) == "reverse"
    cell = _activation(call, "activation", "tanh")
    sequence = call.truth("output_sequence", False)

    def rnn(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs = _optional(F.linear(x, w_ih), bias)
        steps = []
        for t in range(x.shape[0] - 1, -1, -1) if backward else range(x.shape[0]):
            h = cell(inputs[t] + F.linear(h, w_hh))
            steps.append(h)
        if backward:
            steps.reverse()
        return (torch.stack(steps) if sequence else h.unsqueeze(0)), h

    return call.bind(rnn, "x", "initial_h", "weight_ih", "weight_hh", "bias?")
