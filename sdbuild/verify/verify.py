"""Hold what every stage wrote against PyTorch, and the bundle's image against the one that PyTorch draws."""

from collections.abc import Callable, Mapping, Sequence

from sdbuild.coreml.runtime.storage import Precision
from sdbuild.errors import UserError
from sdbuild.verify.artifact import Artifact
from sdbuild.verify.drawing import Drawing, Run, pixels, unet_calls
from sdbuild.verify.metrics import Array, compare, psnr
from sdbuild.verify.originals import Cases, count_runs, run_originals
from sdbuild.verify.pipeline import PROMPTS, Pipeline, Subject, telling_of
from sdbuild.verify.report import Measured, Report, Worst

_UNCHANGED = 80.0
"""dB between what ``chunk`` or ``compile`` was given and what it gave: they rearrange a program, and compute nothing else."""


def verify(
    subjects: Sequence[Subject],
    drawing: Drawing,
    *,
    precision: Precision = "float32",
    image: bool = True,
    min_psnr: Mapping[str, float] | None = None,
    min_converted_psnr: float = 50.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Measure the artifacts of ``subjects``, the components of one pipeline in the order they run.

    Args:
        subjects: the components.
        drawing: the facts of the model, and what to draw.
        precision: of the artifacts' arithmetic; see `sdbuild.coreml.runtime.load`. The originals' is float32.
        image: draw with the bundle, too, where the components are all that it takes.
        min_psnr: what is asked for in the end, in dB, by component, and for "image"; `Report.check` goes by it.
        min_converted_psnr: what is asked of ``convert``, in dB: weights rounded to float16 cost some, a fault more.
        progress: told how many runs of networks are done, and how many there will be.

    Raises:
        UserError: something cannot be read or run; the message names the component and, of an artifact, the stage.
    """
    pipeline = Pipeline(subjects, drawing)
    image = image and pipeline.draws
    total = count_runs(pipeline)
    if image:
        total += 2 * len(pipeline.text_encoders) + unet_calls(drawing) + 1
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    cases = run_originals(pipeline, tick)
    measured = {subject.name: _measure(subject, cases[subject.name], precision, tick) for subject in subjects}
    found = None
    if image:
        (decoder,) = (subject for subject in subjects if subject.kind == "vae_decoder")
        original = cases[decoder.name]["drawing"].outputs[0]
        bundle = pipeline.image(lambda subject: _shipped(subject, precision, tick))
        found = psnr(pixels(original), pixels(bundle), peak=1.0)
    progress(total, total)
    drawn = {"prompt": PROMPTS["prompt"], "steps": drawing.steps, "guidance": drawing.guidance, "seed": drawing.seed}
    keeps = {"convert": min_converted_psnr, "chunk": _UNCHANGED, "compile": _UNCHANGED}
    return Report(precision, measured, found, drawn, min_psnr or {}, keeps)


def _measure(subject: Subject, cases: Cases, precision: Precision, tick: Callable[[], None]) -> list[Measured]:
    originals = before = {name: case.outputs for name, case in cases.items()}
    measured = []
    for stage, paths in subject.stages.items():
        with telling_of(f"{subject.name}: {stage}"):
            artifact = Artifact(paths, subject.inputs, subject.outputs, precision)
            results: dict[str, Sequence[Array]] = {}
            for name, case in cases.items():
                results[name] = artifact(case.inputs)
                tick()
            outputs = _worst(subject.outputs, originals, results)
            own = _worst(subject.outputs, before, results)
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
