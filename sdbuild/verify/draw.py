"""The image that the bundle draws, compared with the one that PyTorch draws."""

from collections.abc import Callable, Sequence

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.storage import Precision
from sdbuild.verify.artifact import Artifact, telling_of
from sdbuild.verify.cases import Cases
from sdbuild.verify.drawing import Run, pixels, unet_calls
from sdbuild.verify.metrics import psnr
from sdbuild.verify.pipeline import Pipeline, Subject


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
