"""measure: what every stage made of a component, against its original in PyTorch."""

from sdbuild.jobs.measure import Measure
from sdbuild.memory import reuse_freed_blocks
from sdbuild.stages import Place, packages_in
from sdbuild.verify.artifact import Made
from sdbuild.verify.cases import read_cases
from sdbuild.verify.measure import measure, unchanged
from sdbuild.verify.report import write_measured


def run(job: Measure, place: Place) -> None:
    """Write ``measured.json``."""
    reuse_freed_blocks()
    stages = {each.stage: packages_in(each.package.path) for each in job.packages}
    stages["compile"] = [each.path for each in job.compiled]
    made = Made(name=job.name, inputs=job.inputs, outputs=job.outputs, stages=stages)
    cases = read_cases(job.cases.path)
    equal = unchanged(made)
    tick = place.counter(len(cases) * (len(stages) - len(equal)), "runs")
    write_measured(measure(made, equal, cases, job.precision, tick), place.output / "measured.json")
