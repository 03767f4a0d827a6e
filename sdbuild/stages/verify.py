"""verify: what is about to ship, against PyTorch; a build that falls short of what its recipe asks for fails."""

import json

from sdbuild.stages import Job
from sdbuild.verify.cases import read_cases
from sdbuild.verify.draw import count_drawing, draw
from sdbuild.verify.drawing import Drawing
from sdbuild.verify.pipeline import PROMPTS, Pipeline, Subject
from sdbuild.verify.report import Report, kept, read_measured

_FACTS = ("height", "width", "batch", "tokens", "latent_channels", "vae_factor", "vae_scale", "steps")


def run(job: Job) -> None:
    """Write ``verify.json`` and the same as text, ``verify.txt``.

    Parameters: ``components``, a list in the family's order, each with ``name``, ``kind``, ``inputs`` and ``outputs`` (names
    of ports), ``models`` (Swift names); ``height``, ``width``, ``batch``, ``tokens``, ``latent_channels``, ``vae_factor``,
    ``vae_scale``; ``precision`` of the arithmetic, ``steps`` of the drawing, ``image`` (whether the bundle is to draw, too,
    where the components are all that it takes); ``min_psnr``, dB by component, and for "image"; ``min_converted_psnr``, dB.

    Inputs: ``originals``; for each component ``measured:<name>`` (what measure found), ``config:<name>`` (its
    ``config.json``), for text encoders ``tokenizer:<name>`` (a folder), and ``compile:<Swift name>`` (the ``.mlmodelc``) for
    each of its models.
    """
    parameters, inputs = job.parameters, job.inputs
    scheduler = json.loads((inputs["originals"] / "scheduler.json").read_text(encoding="utf-8"))
    drawing = Drawing(**{fact: parameters[fact] for fact in _FACTS}, scheduler=scheduler)
    subjects = [
        Subject(
            name=each["name"],
            inputs=each["inputs"],
            outputs=each["outputs"],
            stages={"compile": [inputs[f"compile:{model}"] for model in each["models"]]},
            kind=each["kind"],
            config=inputs[f"config:{each['name']}"],
            tokenizer=inputs.get(f"tokenizer:{each['name']}"),
        )
        for each in parameters["components"]
    ]
    pipeline, image = Pipeline(subjects, drawing), None
    decoder = pipeline.find("vae_decoder")
    if parameters["image"] and pipeline.draws and decoder is not None:
        cases = read_cases(inputs["originals"] / decoder.name)
        image = draw(pipeline, cases, parameters["precision"], job.counter(count_drawing(pipeline), "runs"))
    drawn = {"prompt": PROMPTS["prompt"], "steps": drawing.steps, "guidance": drawing.guidance, "seed": drawing.seed}
    measured = {subject.name: read_measured(inputs[f"measured:{subject.name}"]) for subject in subjects}
    keeps = kept(parameters["min_converted_psnr"])
    report = Report(parameters["precision"], measured, image, drawn, parameters["min_psnr"], keeps)
    report.check()
    (job.output / "verify.json").write_text(report.json(), encoding="utf-8")
    (job.output / "verify.txt").write_text(report.table(), encoding="utf-8")
