"""compress: the recipe's steps, applied to a package's weights a few tensors at a time."""

import os

from sdbuild.compress import steps
from sdbuild.compress.selection import Selection, Settings, Subject
from sdbuild.coreml.encodings import Dense, Encoding
from sdbuild.coreml.package import read_package, read_parameters
from sdbuild.coreml.rewrite import Weight, rewrite, weights_of
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
    chosen: dict[str, list[tuple[steps.Apply, Settings]]] = {}
    for step in job.parameters["steps"]:
        ((kind, options),) = step.items()
        apply, selection = steps.find(kind), Selection(kind, options, list(subjects.values()))
        for name, subject in subjects.items():
            settings = selection.settings(subject)
            if settings is not None and weights[name].data.size >= settings["min_elements"]:
                chosen.setdefault(name, []).append((apply, settings))

    def encode(weight: Weight) -> Encoding:
        encoding: Encoding = Dense(weight.data)
        for apply, settings in chosen.get(weight.name, ()):
            encoding = apply(weight, encoding, settings)
        return encoding

    def progress(done: int, total: int) -> None:
        job.progress(done, total, "B")

    rewrite(source, job.output / path.name, encode, progress, workers=os.cpu_count() or 1)
