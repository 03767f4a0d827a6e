"""originals: what PyTorch gives for the inputs that an image meets; what was built of the same model is compared with it."""

import json

from sdbuild.jobs.originals import Originals
from sdbuild.memory import reuse_freed_blocks
from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.markers import markers_in
from sdbuild.sources.schedulers import with_markers
from sdbuild.stages import Place, learned_in
from sdbuild.verify.cases import write_cases
from sdbuild.verify.generation import Generation
from sdbuild.verify.pipeline import Pipeline, Subject
from sdbuild.verify.recording import count_runs, run_originals


def run(job: Originals, place: Place) -> None:
    """Write the cases of each component into a folder of its name, and ``scheduler.json``, what the image is made with."""
    reuse_freed_blocks()
    markers = {
        marker for each in job.components if each.part.role == "denoiser" for marker in markers_in(each.weights.path)
    }
    scheduler = with_markers(read_config(job.scheduler.path), markers).config
    subjects = [
        Subject(
            name=each.name,
            kind=each.kind,
            options=each.options,
            part=each.part,
            inputs=each.inputs,
            outputs=each.outputs,
            config=each.config.path,
            weights=each.weights.path,
            overlays=each.overlays,
            tokenizer=each.tokenizer.path if each.tokenizer is not None else None,
        )
        for each in job.components
    ]
    generation = Generation(job.sizes, scheduler, job.scheduler_overrides, job.steps, job.guidance, job.scheduler_name)
    pipeline = Pipeline(subjects, generation, learned_in(job.embeddings))
    for name, cases in run_originals(pipeline, place.counter(count_runs(pipeline), "runs")).items():
        write_cases(cases, place.output / name)
    (place.output / "scheduler.json").write_text(json.dumps(scheduler), encoding="utf-8")
