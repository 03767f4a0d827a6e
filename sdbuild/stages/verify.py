"""verify: what is about to ship, against PyTorch; a build that falls short of what its recipe asks for fails."""

import importlib
import json

from sdbuild.jobs.verify import Verify
from sdbuild.memory import reuse_freed_blocks
from sdbuild.stages import Place, learned_in
from sdbuild.verify.cases import read_cases
from sdbuild.verify.generate import count_generating, generate
from sdbuild.verify.generation import Generation
from sdbuild.verify.pipeline import Pipeline, Subject
from sdbuild.verify.report import Report, kept, read_measured


def warm() -> None:
    """Import what `run` loads late: a scheduler, and all that schedulers share."""
    importlib.import_module("diffusers.schedulers.scheduling_euler_discrete")


def run(job: Verify, place: Place) -> None:
    """Write ``verify.json`` and the same as text, ``verify.txt``."""
    reuse_freed_blocks()
    scheduler = json.loads((job.originals.path / "scheduler.json").read_text(encoding="utf-8"))
    generation = Generation(job.sizes, scheduler, job.scheduler_overrides, job.steps, job.guidance, job.scheduler_name)
    subjects = [
        Subject(
            name=each.name,
            inputs=each.inputs,
            outputs=each.outputs,
            stages={"compile": [model.path for model in each.compiled]},
            part=each.part,
            config=each.config.path,
        )
        for each in job.components
    ]
    pipeline, image = Pipeline(subjects, generation, learned_in(job.embeddings)), None
    if job.image and pipeline.generates:
        needed = [part.name for part in (*pipeline.facts.text_encoders, pipeline.facts.decoder) if part is not None]
        cases = {name: read_cases(job.originals.path / name) for name in needed}
        image = generate(pipeline, cases, job.precision, place.counter(count_generating(pipeline), "runs"))
    generated = {
        "prompt": pipeline.prompts["prompt"],
        "steps": generation.steps,
        "guidance": generation.guidance,
        "seed": generation.seed,
        **({"scheduler": generation.scheduler_name} if generation.scheduler_name else {}),
    }
    measured = {each.name: read_measured(each.measured.path) for each in job.components}
    report = Report(job.precision, measured, image, generated, job.min_psnr, kept(job.min_converted_psnr))
    report.check()
    (place.output / "verify.json").write_text(report.json(), encoding="utf-8")
    (place.output / "verify.txt").write_text(report.table(), encoding="utf-8")
