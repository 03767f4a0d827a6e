"""compress: the recipe's steps, applied to a package's weights a few tensors at a time."""

import os

from sdbuild.compress import steps
from sdbuild.compress.selection import Selection, Settings, Subject
from sdbuild.coreml.encodings import Dense, Encoding
from sdbuild.coreml.package import read_package, read_parameters
from sdbuild.coreml.rewrite import Weight, rewrite, weights_of
from sdbuild.jobs.compress import Compress
from sdbuild.stages import Place, packages_in


def warm() -> None:
    """Import the steps, and numba with them."""
    for name in steps.names():
        steps.find(name)


def run(job: Compress, place: Place) -> None:
    """Write the package again, with other weights."""
    (path,) = packages_in(job.package.path)
    source = read_package(path)
    parameters = read_parameters(source)
    weights = {weight.name: weight for weight in weights_of(source) if weight.data.ndim > 1 and weight.users}
    subjects = {
        name: Subject(name, parameters.get(name), tuple((user.type, user.name) for user in weight.users))
        for name, weight in weights.items()
    }
    chosen: dict[str, list[tuple[steps.Apply, Settings]]] = {}
    for step in job.steps:
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
        place.progress(done, total, "B")

    rewrite(source, place.output / path.name, encode, progress, workers=os.cpu_count() or 1)
