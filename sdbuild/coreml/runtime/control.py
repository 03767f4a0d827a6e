"""Operations that run nested blocks: ``cond`` and ``while_loop``.

Each is given the plans of its blocks when a model is compiled, and the values at run time: its own operands first, then
for each block in turn what it reads of the blocks around it. Source of the semantics: ``control_flow.py`` in
``converters/mil/mil/ops/defs/iOS15`` of coremltools.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sdbuild.coreml.runtime.errors import ModelError
from sdbuild.coreml.runtime.program import Argument, Operation
from sdbuild.coreml.runtime.steps import Plan


@dataclass(frozen=True)
class Control:
    """How one such operation is run: what it takes beside its blocks, and its function for their plans."""

    parameter: str
    run: Callable[[Sequence[Plan]], Callable[..., list[Any]]]

    def operands(self, operation: Operation) -> list[Argument]:
        """The operands that are its own."""
        return operation.inputs.get(self.parameter, [])


def _cond(plans: Sequence[Plan]) -> Callable[..., list[Any]]:
    then, otherwise = plans
    split = 1 + len(then.inputs)

    def cond(*values: Any) -> list[Any]:
        return then.run(values[1:split]) if _truth(values[0]) else otherwise.run(values[split:])

    return cond


def _while_loop(plans: Sequence[Plan]) -> Callable[..., list[Any]]:
    condition, body = plans
    count = len(body.outputs)
    split = len(condition.inputs)

    def while_loop(*values: Any) -> list[Any]:
        variables, seen, read = list(values[:count]), values[count:split], values[split:]
        while _truth(condition.run([*variables, *seen])[0]):
            variables = body.run([*variables, *read])
        return variables

    return while_loop


def _truth(value: torch.Tensor) -> bool:
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise ValueError("its condition is not a single truth value")
    return bool(value)


CONTROL = {"cond": Control("pred", _cond), "while_loop": Control("loop_vars", _while_loop)}


def check_blocks(operation: Operation) -> None:
    """Compare the numbers of values that go in and out of an operation and of its blocks.

    Raises:
        ModelError: they differ.
    """
    given, made = len(CONTROL[operation.type].operands(operation)), len(operation.outputs)
    loops = operation.type == "while_loop"
    blocks = [(len(block.inputs), len(block.outputs)) for block in operation.blocks]
    wanted = [(made, 1), (made, made)] if loops else [(0, made)] * 2
    if blocks != wanted or given != (made if loops else 1):
        raise ModelError(
            f"{operation}: it takes {given} values and makes {made}, which does not fit its blocks "
            f"({', '.join(f'{takes} to {makes}' for takes, makes in blocks) or 'none'})"
        )
