"""What every stage made of a component, compared with its original in PyTorch, which is not needed any more by then."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.storage import Precision
from sdbuild.errors import UserError
from sdbuild.verify.artifact import Artifact, Made, telling_of
from sdbuild.verify.cases import Cases
from sdbuild.verify.equality import same_program
from sdbuild.verify.metrics import CEILING, compare
from sdbuild.verify.report import Measured, Worst


def unchanged(made: Made) -> set[str]:
    """The stages that left a component the very program that they were given: they need not be run.

    A model that cannot be read is not among them: running it says what is wrong with it.
    """
    found = set()
    for (_, before), (stage, after) in pairwise(made.stages.items()):
        with suppress(UserError):
            if same_program(before, after, made.outputs):
                found.add(stage)
    return found


def measure(
    made: Made, unchanged: Collection[str], cases: Cases, precision: Precision, tick: Callable[[], None]
) -> list[Measured]:
    """Run what each stage made of a component on the cases of its original; ``tick`` is called after each run.

    Stages that left it ``unchanged`` give what the stage before gave.

    Raises:
        UserError: something cannot be read or run; the message names the component and the stage.
    """
    originals = before = {name: case.outputs for name, case in cases.items()}
    measured: list[Measured] = []
    for stage, paths in made.stages.items():
        if stage in unchanged:
            measured.append(Measured(stage, measured[-1].outputs, CEILING, run=False))
            continue
        with telling_of(f"{made.name}: {stage}"):
            artifact = Artifact(paths, made.outputs, precision)
            results: dict[str, Mapping[str, Array]] = {}
            for name, case in cases.items():
                results[name] = artifact(case.inputs)
                tick()
            outputs = _worst(made.outputs, originals, results)
            own = _worst(made.outputs, before, results)
        measured.append(Measured(stage, outputs, min(worst.difference.psnr for worst in own.values())))
        before = results
    return measured


def _worst(
    outputs: Sequence[str], originals: Mapping[str, Mapping[str, Array]], results: Mapping[str, Mapping[str, Array]]
) -> dict[str, Worst]:
    """For each output the worst of the cases."""
    found = {}
    for output in outputs:
        pairs = {name: (originals[name][output], result[output]) for name, result in results.items()}
        for original, result in pairs.values():
            if original.shape != result.shape:
                raise UserError(f"{output} has shape {list(result.shape)}, that of PyTorch {list(original.shape)}")
        found[output] = Worst.of({name: compare(original, result) for name, (original, result) in pairs.items()})
    return found
