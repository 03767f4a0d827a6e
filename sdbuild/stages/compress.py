"""compress: the recipe's steps, applied to a package's weights one tensor at a time."""

from typing import Any

from sdbuild.compress.palettize import palettize
from sdbuild.coreml.package import read_package
from sdbuild.coreml.rewrite import LookupTable, Weight, rewrite
from sdbuild.stages import Job, packages_in


def run(job: Job) -> None:
    """Write the package anew.

    Parameters: ``steps``, a list of one-key mappings such as ``{"palettize": {"bits": 6, …}}``. Inputs: ``package``.
    """
    (source,) = packages_in(job.inputs["package"])

    def encode(weight: Weight) -> LookupTable | None:
        for step in job.parameters["steps"]:
            for name, options in step.items():
                encoded = _STEPS[name](weight, options)
                if encoded is not None:
                    return encoded
        return None

    rewrite(read_package(source), job.output / source.name, encode, lambda done, total: job.progress(done, total, "B"))


def _palettize(weight: Weight, options: dict[str, Any]) -> LookupTable | None:
    if weight.data.size < options["min_elements"] or ("gather" in weight.users and not options["embeddings"]):
        return None
    palette = palettize(weight.data, options["bits"], weight.name)
    return LookupTable(palette.bits, palette.table, palette.packed)


_STEPS = {"palettize": _palettize}
