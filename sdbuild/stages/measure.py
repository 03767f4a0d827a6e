"""measure: what every stage made of a component, against its original in PyTorch."""

from sdbuild.stages import Job, packages_in
from sdbuild.verify.artifact import Made
from sdbuild.verify.cases import read_cases
from sdbuild.verify.measure import measure, unchanged
from sdbuild.verify.report import write_measured

_PACKAGES = ("convert", "compress", "chunk")


def run(job: Job) -> None:
    """Write ``measured.json``.

    Parameters: ``name`` of the component, ``inputs`` and ``outputs`` (names of its ports), ``models`` (Swift names);
    ``precision`` of the arithmetic.

    Inputs: ``cases``, the component's part of originals; ``convert``, ``compress`` and ``chunk`` where there is one, and
    ``compile:<Swift name>`` (the ``.mlmodelc``) for each model.
    """
    parameters, inputs = job.parameters, job.inputs
    stages = {stage: packages_in(inputs[stage]) for stage in _PACKAGES if stage in inputs}
    stages["compile"] = [inputs[f"compile:{model}"] for model in parameters["models"]]
    made = Made(name=parameters["name"], inputs=parameters["inputs"], outputs=parameters["outputs"], stages=stages)
    cases = read_cases(inputs["cases"])
    equal = unchanged(made)
    tick = job.counter(len(cases) * (len(stages) - len(equal)), "runs")
    write_measured(measure(made, equal, cases, parameters["precision"], tick), job.output / "measured.json")
