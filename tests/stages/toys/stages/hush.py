"""hush: weights next to zero become zero."""

import numpy as np
from sdbuild.jobs.hush import Hush

from sdbuild.coreml.encodings import Dense, Encoding
from sdbuild.coreml.package import read_package
from sdbuild.coreml.rewrite import Weight, rewrite
from sdbuild.stages import Place, packages_in


def run(job: Hush, place: Place) -> None:
    """Write the package again."""
    (path,) = packages_in(job.package.path)

    def encode(weight: Weight) -> Encoding:
        return Dense(np.where(np.abs(weight.data) < job.below, np.zeros_like(weight.data), weight.data))

    rewrite(read_package(path), place.output / path.name, encode, lambda done, total: place.progress(done, total, "B"))
