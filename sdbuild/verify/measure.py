"""What every stage made of a component, compared with its original in PyTorch, which is not needed any more by then."""

from collections.abc import Callable, Mapping, Sequence

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.storage import Precision
from sdbuild.errors import UserError
from sdbuild.verify.artifact import Artifact, Made, telling_of
from sdbuild.verify.cases import Cases
from sdbuild.verify.metrics import compare
from sdbuild.verify.report import Measured, Worst


def measure(made: Made, cases: Cases, precision: Precision, tick: Callable[[], None]) -> list[Measured]:
    """Run what each stage made of a component on the cases of its original; ``tick`` is called after each run.

    Raises:
        UserError: something cannot be read or run; the message names the component and the stage.
    """
    originals = before = {name: case.outputs for name, case in cases.items()}
    measured = []
    for stage, paths in made.stages.items():
        with telling_of(f"{made.name}: {stage}"):
            artifact = Artifact(paths, made.inputs, made.outputs, precision)
            results: dict[str, Sequence[Array]] = {}
            for name, case in cases.items():
                results[name] = artifact(case.inputs)
                tick()
            outputs = _worst(made.outputs, originals, results)
            own = _worst(made.outputs, before, results)
        measured.append(Measured(stage, outputs, min(worst.difference.psnr for worst in own.values())))
        before = results
    return measured


def _worst(
    outputs: Sequence[str], originals: Mapping[str, Sequence[Array]], results: Mapping[str, Sequence[Array]]
) -> dict[str, Worst]:
    """For each output the worst of the cases."""
    found = {}
    for index, output in enumerate(outputs):
        pairs = {name: (originals[name][index], result[index]) for name, result in results.items()}
        for original, result in pairs.values():
            if original.shape != result.shape:
                raise UserError(f"{output} has shape {list(result.shape)}, that of PyTorch {list(original.shape)}")
        found[output] = Worst.of({name: compare(original, result) for name, (original, result) in pairs.items()})
    return found
