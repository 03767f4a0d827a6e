"""palettize: tables of values, and an index for each element."""

from math import gcd

from sdbuild.compress.palettize import palette_bytes, palettize, palettize_kept
from sdbuild.compress.selection import Settings
from sdbuild.coreml.encodings import Dense, Encoding, Sparse
from sdbuild.coreml.rewrite import Weight
from sdbuild.errors import UserError


def apply(weight: Weight, encoding: Encoding, settings: Settings) -> Encoding:
    """A weight palettized as ``settings`` say; as it is where palettes would take more room.

    Groups that do not divide the channels become smaller ones that do.

    Raises:
        UserError: infinities or NaNs; groups along an axis that the weight does not have, or that its users do not agree on.
    """
    sparse = encoding if isinstance(encoding, Sparse) else None
    numbers = encoding.kept if isinstance(encoding, Sparse) else encoding
    if not isinstance(numbers, Dense):
        raise TypeError(f"{weight.name}: palettize needs numbers, not {type(numbers).__name__}")
    bits, axis, group_size = settings["bits"], 0, None
    if settings["granularity"] == "per_grouped_channel":
        axis = _axis(weight, settings.get("axis"))
        group_size = gcd(weight.data.shape[axis], settings["group_size"])
    groups = 1 if group_size is None else weight.data.shape[axis] // group_size
    if palette_bytes(numbers.data, bits, groups) >= numbers.data.nbytes:
        return encoding
    how = {"axis": axis, "group_size": group_size, "exact": settings["exact"]}
    if sparse is not None:
        return palettize_kept(sparse, bits, weight.name, **how)
    return palettize(numbers.data, bits, weight.name, **how)


def _axis(weight: Weight, axis: int | None) -> int:
    shape = list(weight.data.shape)
    if axis is not None:
        if axis >= len(shape):
            raise UserError(f"compress: {weight.name} of shape {shape} has no axis {axis}; leave axis out")
        return axis
    found = sorted({user.axis for user in weight.users})
    if len(found) > 1:
        raise UserError(
            f"compress: the users of {weight.name} have their output channels along different axes, {found}; write axis "
            "for it under parameters or op_names"
        )
    return found[0]
