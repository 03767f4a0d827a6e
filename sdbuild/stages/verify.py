"""verify: what is about to ship, against PyTorch; a build that falls short of what its recipe asks for fails."""

from typing import Any

from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.markers import markers_in
from sdbuild.sources.schedulers import with_markers
from sdbuild.stages import Job, packages_in
from sdbuild.verify import Drawing, Subject, verify

_PACKAGES = ("convert", "compress", "chunk")


def run(job: Job) -> None:
    """Write ``verify.json`` and the same as text, ``verify.txt``.

    Parameters: ``components``, a list in the family's order, each with ``name``, ``kind``, ``inputs`` and ``outputs`` (names
    of ports), ``models`` (Swift names); ``height``, ``width``, ``batch``, ``tokens``, ``latent_channels``, ``vae_factor``,
    ``vae_scale``; ``precision`` of the arithmetic, ``steps`` of the drawing, ``image`` (whether
    the bundle is to draw, too); ``min_psnr``, dB by component, and for "image"; ``min_converted_psnr``, dB.

    Inputs: for each component ``config:<name>`` (its ``config.json``), ``weights:<name>`` (the download), for text encoders
    ``tokenizer:<name>`` (a folder), ``convert:<name>``, ``compress:<name>`` and ``chunk:<name>`` where there is one, and
    ``compile:<Swift name>`` (the ``.mlmodelc``) for each of its models; ``scheduler``, its configuration.
    """
    parameters = job.parameters
    report = verify(
        [_subject(job, component) for component in parameters["components"]],
        _drawing(job),
        precision=parameters["precision"],
        image=parameters["image"],
        min_psnr=parameters["min_psnr"],
        min_converted_psnr=parameters["min_converted_psnr"],
        progress=lambda done, total: job.progress(done, total, "runs"),
    )
    report.check()
    (job.output / "verify.json").write_text(report.json(), encoding="utf-8")
    (job.output / "verify.txt").write_text(report.table(), encoding="utf-8")


def _subject(job: Job, component: dict[str, Any]) -> Subject:
    name, inputs = component["name"], job.inputs
    stages = {stage: packages_in(inputs[f"{stage}:{name}"]) for stage in _PACKAGES if f"{stage}:{name}" in inputs} | {
        "compile": [inputs[f"compile:{model}"] for model in component["models"]]
    }
    return Subject(
        name,
        component["kind"],
        inputs[f"config:{name}"],
        inputs[f"weights:{name}"],
        component["inputs"],
        component["outputs"],
        stages,
        inputs.get(f"tokenizer:{name}"),
    )


def _drawing(job: Job) -> Drawing:
    facts = ("height", "width", "batch", "tokens", "latent_channels", "vae_factor", "vae_scale", "steps")
    unets = [each["name"] for each in job.parameters["components"] if each["kind"].startswith("unet")]
    markers = {marker for name in unets for marker in markers_in(job.inputs[f"weights:{name}"])}
    return Drawing(
        **{fact: job.parameters[fact] for fact in facts},
        scheduler=with_markers(read_config(job.inputs["scheduler"]), markers).config,
    )
