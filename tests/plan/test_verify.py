"""What variants share of their verification."""

from pathlib import Path

from sdbuild.jobs.bundle import Bundle
from sdbuild.jobs.measure import Measure
from sdbuild.jobs.originals import Originals
from sdbuild.jobs.verify import Verify
from tests.plan.support import BASE, differing, graph

COMPONENTS = ("text_encoder", "unet", "vae_decoder")


def palettes(bits: int) -> dict[str, object]:
    return {"compress": {"unet": [{"palettize": {"bits": bits}}]}}


def variants(*bits: int) -> dict[str, object]:
    return {"variants": [{"name": f"bits{each}", **palettes(each)} for each in bits]}


def test_variants_measure_what_they_share_once(tmp_path: Path) -> None:
    found = graph(tmp_path, verify={}, **variants(4, 6))
    proving = {name for name, node in found.tasks.items() if node.stage.name in ("originals", "measure", "verify")}
    assert proving == {
        "originals",
        "measure:text_encoder",
        "measure:vae_decoder",
        *(f"{task}@bits{bits}" for task in ("measure:unet", "verify") for bits in (4, 6)),
    }


def test_a_variant_is_verified_as_if_it_were_alone(tmp_path: Path) -> None:
    """Equal nodes have equal keys, and so one artifact: the report of one is that of the other."""
    both, alone = graph(tmp_path, verify={}, **variants(4, 6)), graph(tmp_path, verify={}, **palettes(4))
    assert both.tasks["verify@bits4"] == alone.tasks["verify"]
    assert both.tasks["verify@bits6"] != alone.tasks["verify"]


def test_originals_depend_on_the_model_and_how_to_generate_alone(tmp_path: Path) -> None:
    one = graph(tmp_path, verify={}).tasks["originals"]
    others = {"verify": {"min_psnr": 20, "image": False}, "chunk": True, "attention": "split_einsum", **palettes(6)}
    assert graph(tmp_path, **others).tasks["originals"] == one
    assert graph(tmp_path, verify={}, resolution="512x768").tasks["originals"] != one
    assert {item.node.stage.name for item in one.inputs} == {"config", "download"}


def test_how_to_generate_is_a_matter_of_the_bundle_and_of_what_is_verified(tmp_path: Path) -> None:
    said = {"generate": {"steps": 4, "guidance": 0, "scheduler": "lcm"}}
    assert differing(graph(tmp_path), graph(tmp_path, **said)) == {"bundle"}
    before, after = graph(tmp_path, verify={}), graph(tmp_path, verify={}, **said)
    assert differing(before, after) == {"originals", "verify", "bundle"}
    jobs = {name: after.tasks[name].job for name in ("originals", "verify", "bundle")}
    assert isinstance(jobs["originals"], Originals)
    assert isinstance(jobs["verify"], Verify)
    assert isinstance(jobs["bundle"], Bundle)
    for job in (jobs["originals"], jobs["verify"]):
        assert (job.steps, job.guidance, job.scheduler_name) == (4, 0, "lcm")
    # of batch 2, at 1 the Swift package gives the prompt's half alone; of batch 1 it takes no half twice below 1
    assert jobs["bundle"].defaults == {"steps": 4, "guidance": 1.0, "scheduler": "lcm"}
    single = graph(tmp_path, batch=1, generate={"guidance": 1}).tasks["bundle"].job
    assert isinstance(single, Bundle)
    assert single.defaults == {"guidance": 0.0}
    many = graph(tmp_path, verify={}, generate={"steps": 30, "guidance": 3}).tasks
    assert isinstance(many["originals"].job, Originals)
    assert (many["originals"].job.steps, many["originals"].job.guidance) == (5, 3)


def test_a_scheduler_of_the_recipe_is_read_with_the_model(tmp_path: Path) -> None:
    changed = {"model": BASE["model"] | {"scheduler": {"timestep_spacing": "trailing"}}}
    assert differing(graph(tmp_path, verify={}), graph(tmp_path, verify={}, **changed)) == {"config"}


def test_a_measurement_depends_on_nothing_of_other_components(tmp_path: Path) -> None:
    found = graph(tmp_path, verify={"image": False}, chunk=True, **palettes(6))
    for name in COMPONENTS:
        job = found.tasks[f"measure:{name}"].job
        assert isinstance(job, Measure)
        read = {item.role: item.node.label for item in found.tasks[f"measure:{name}"].inputs}
        assert read.pop("cases") == "originals"
        stages = ["convert", "compress", "chunk"] if name == "unet" else ["convert"]
        assert [each.stage for each in job.packages] == stages
        assert [read.pop(f"packages[{number}].package") for number in range(len(stages))] == [
            f"{stage}:{name}" for stage in stages
        ]
        models = ["unet-1", "unet-2"] if name == "unet" else [name]
        assert list(read.values()) == [f"compile:{model}" for model in models]
