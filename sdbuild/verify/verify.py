"""Hold what every stage wrote against PyTorch, and the bundle's image against the one that PyTorch draws."""

from collections.abc import Callable, Mapping, Sequence

from sdbuild.coreml.runtime.storage import Precision
from sdbuild.errors import UserError
from sdbuild.verify.artifact import Artifact
from sdbuild.verify.cases import Cases
from sdbuild.verify.drawing import Run, pixels, unet_calls
from sdbuild.verify.metrics import Array, compare, psnr
from sdbuild.verify.pipeline import Made, Pipeline, Subject, telling_of
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


def draw(pipeline: Pipeline, cases: Cases, precision: Precision, tick: Callable[[], None]) -> float:
    """dB of the image that the models which ship draw, against that among the cases of the decoder's original.

    ``pipeline`` has all that a drawing takes; ``tick`` is called after each of `count_drawing` runs.

    Raises:
        UserError: something cannot be read or run; the message names the component and the stage.
    """
    bundle = pipeline.image(lambda subject: _shipped(subject, precision, tick))
    return psnr(pixels(cases["drawing"].outputs[0]), pixels(bundle), peak=1.0)


def count_drawing(pipeline: Pipeline) -> int:
    """How many runs of networks `draw` takes."""
    return 2 * len(pipeline.text_encoders) + unet_calls(pipeline.drawing) + 1


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


def _shipped(subject: Subject, precision: Precision, tick: Callable[[], None]) -> Run:
    """What the last stage wrote of a component."""
    stage, paths = list(subject.stages.items())[-1]
    with telling_of(f"{subject.name}: {stage}"):
        artifact = Artifact(paths, subject.inputs, subject.outputs, precision)

    def run(_name: str, inputs: Sequence[Array]) -> list[Array]:
        with telling_of(f"{subject.name}: {stage}"):
            outputs = artifact(inputs)
        tick()
        return outputs

    return run
