"""compress: the recipe's steps, applied to a package's weights a few tensors at a time."""

import os
from math import gcd

from sdbuild.compress.palettize import palette_bytes, palettize
from sdbuild.compress.selection import Selection, Settings, Subject
from sdbuild.coreml.package import read_package, read_parameters
from sdbuild.coreml.rewrite import LookupTable, Weight, rewrite, weights_of
from sdbuild.errors import UserError
from sdbuild.stages import Job, packages_in


def run(job: Job) -> None:
    """Write the package anew.

    Parameters: ``steps``, a list of one-key mappings such as ``{"palettize": {"bits": 6, …}}``. Inputs: ``package``, with the
    parameters' names beside it.
    """
    (path,) = packages_in(job.inputs["package"])
    source = read_package(path)
    parameters = read_parameters(source)
    weights = {weight.name: weight for weight in weights_of(source) if weight.data.ndim > 1 and weight.users}
    subjects = {
        name: Subject(name, parameters.get(name), tuple((user.type, user.name) for user in weight.users))
        for name, weight in weights.items()
    }
    settings: dict[str, Settings] = {}
    for step in job.parameters["steps"]:
        selection = Selection(step["palettize"], list(subjects.values()))
        for name, subject in subjects.items():
            found = selection.settings(subject)
            if found is not None and weights[name].data.size >= found["min_elements"]:
                settings[name] = found

    def encode(weight: Weight) -> LookupTable | None:
        return encode_weight(weight, settings[weight.name]) if weight.name in settings else None

    def progress(done: int, total: int) -> None:
        job.progress(done, total, "B")

    rewrite(source, job.output / path.name, encode, progress, workers=os.cpu_count() or 1)


def encode_weight(weight: Weight, settings: Settings) -> LookupTable | None:
    """A weight palettized as ``settings`` say; None where palettes would take more room than the weight.

    Groups that do not divide the channels become smaller ones that do.

    Raises:
        UserError: infinities or NaNs; groups along an axis that the weight does not have, or that its users do not agree on.
    """
    axis, group_size = 0, None
    if settings["granularity"] == "per_grouped_channel":
        axis = _axis(weight, settings.get("axis"))
        group_size = gcd(weight.data.shape[axis], settings["group_size"])
    if palette_bytes(weight.data, settings["bits"], axis, group_size) >= weight.data.nbytes:
        return None
    palette = palettize(
        weight.data, settings["bits"], weight.name, axis=axis, group_size=group_size, exact=settings["exact"]
    )
    return LookupTable(palette.bits, palette.tables, palette.packed, palette.axis)


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
