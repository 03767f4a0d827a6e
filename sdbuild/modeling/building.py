"""A component of a pipeline as a module to trace, without weights, and tensors to trace it with."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sdbuild.errors import SourceError, UserError, in_brief, tells_of_no_memory
from sdbuild.modeling import components

Shape = Sequence[int | str]
"""Of a port: sizes, and names of those that the component's configuration tells."""


@dataclass(frozen=True)
class Component:
    """A module without weights, and arguments to trace it with; all float32, on the meta device."""

    module: nn.Module
    arguments: tuple[Tensor, ...]


def build(kind: str, config: Mapping[str, Any], inputs: Sequence[Shape], options: Mapping[str, Any]) -> Component:
    """Build a component on the meta device, in inference mode.

    Args:
        kind: a file of `sdbuild.modeling.components`.
        config: the component's ``config.json``.
        inputs: the shapes of its input ports.
        options: what the family sets of the kind's options.

    Raises:
        UserError: a configuration that the kind cannot be; options or names of sizes that it does not know.
    """
    found = components.find(kind)
    known = list(inspect.signature(found.build).parameters)[1:]
    if odd := [name for name in options if name not in known]:
        raise UserError(f"trace: {kind} has no option {odd[0]}; it has {', '.join(known) or 'none'}")
    with torch.device("meta"):
        try:
            module = found.build(config, **options)
            sizes = found.dimensions(config, **options)
            arguments = tuple(torch.empty(shape_of(shape, sizes, kind), dtype=torch.float32) for shape in inputs)
        except (
            ValueError,
            TypeError,
            AttributeError,
            KeyError,
            RuntimeError,
        ) as error:  # of the libraries, about what it says
            if tells_of_no_memory(str(error)):
                raise
            raise SourceError(f"trace: no {kind} can be made of this config.json: {in_brief(error)}") from error
    return Component(module.eval(), arguments)


def shape_of(shape: Shape, sizes: Mapping[str, int], kind: str) -> list[int]:
    """The numbers of a port's shape.

    Raises:
        UserError: it has the name of a size that is not known.
    """
    if odd := [size for size in shape if isinstance(size, str) and size not in sizes]:
        raise UserError(f"trace: {kind} knows no size {odd[0]}; it knows {', '.join(sizes) or 'none'}")
    return [sizes[size] if isinstance(size, str) else size for size in shape]
