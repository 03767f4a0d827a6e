"""originals: what PyTorch gives for the inputs that a drawing meets; what was built of the same model is held against it."""

import json

from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.markers import markers_in
from sdbuild.sources.schedulers import with_markers
from sdbuild.stages import Job
from sdbuild.verify.cases import write_cases
from sdbuild.verify.drawing import Drawing
from sdbuild.verify.originals import count_runs, run_originals
from sdbuild.verify.pipeline import Pipeline, Subject


def run(job: Job) -> None:
    """Write the cases of each component into a folder of its name, and ``scheduler.json``, what the drawing goes by.

    Parameters: ``components``, a list in the family's order, each with ``name`` and ``kind``; ``height``, ``width``,
    ``batch``, ``tokens``, ``latent_channels``, ``vae_factor``, ``vae_scale``; ``steps`` of the drawing.

    Inputs: for each component ``config:<name>`` (its ``config.json``), ``weights:<name>`` (the download), for text encoders
    ``tokenizer:<name>`` (a folder); ``scheduler``, its configuration.
    """
    parameters, inputs = dict(job.parameters), job.inputs
    components = parameters.pop("components")
    unets = [each["name"] for each in components if each["kind"].startswith("unet")]
    markers = {marker for name in unets for marker in markers_in(inputs[f"weights:{name}"])}
    scheduler = with_markers(read_config(inputs["scheduler"]), markers).config
    subjects = [
        Subject(
            name=each["name"],
            kind=each["kind"],
            config=inputs[f"config:{each['name']}"],
            weights=inputs[f"weights:{each['name']}"],
            tokenizer=inputs.get(f"tokenizer:{each['name']}"),
        )
        for each in components
    ]
    pipeline = Pipeline(subjects, Drawing(**parameters, scheduler=scheduler))
    for name, cases in run_originals(pipeline, job.counter(count_runs(pipeline), "runs")).items():
        write_cases(cases, job.output / name)
    (job.output / "scheduler.json").write_text(json.dumps(scheduler), encoding="utf-8")
