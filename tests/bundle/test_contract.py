"""A good Resources folder passes the contract; each way to break it gives its one line."""

from pathlib import Path

import pytest

from sdbuild.bundle.compiled import read_compiled
from sdbuild.bundle.contract import ContractError, Expectations, check_resources
from sdbuild.errors import UserError
from tests.bundle import models
from tests.bundle.broken import INTERFACES, PIPELINES, reshape, retype
from tests.bundle.models import Workshop, expectations


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.parametrize("name", PIPELINES)
def test_a_good_bundle_passes(name: str, workshop: Workshop, tmp_path: Path) -> None:
    pipeline, make = PIPELINES[name]
    folder = workshop.folder(tmp_path / "Resources", make(), tokenizer=name != "multilingual")
    (folder / "manifest.json").write_text("{}")  # other files do no harm
    if (folder / "controlnet").is_dir():
        (folder / "controlnet" / "README.md").write_text("What these are")
    assert check_resources(folder, expectations(pipeline)) == []
    assert check_resources(folder, expectations(pipeline, height=None, width=None, batch=None)) == []


@pytest.mark.parametrize("name", ["extras", "chunked", "controlled", "xl", "refined"])
def test_outputs_without_described_shapes_have_those_of_the_program(
    name: str, workshop: Workshop, tmp_path: Path
) -> None:
    pipeline, make = PIPELINES[name]
    folder = workshop.folder(tmp_path / "Resources", models.old(make()))
    compiled, violations = read_compiled(folder / "VAEDecoder.mlmodelc", "VAEDecoder.mlmodelc")
    assert compiled is not None
    assert str(compiled.outputs["image"]) == "Float32 [1, 3, 64, 128]"
    assert violations == check_resources(folder, expectations(pipeline)) == []


def test_their_true_shapes_are_held_to_the_contract(workshop: Workshop, tmp_path: Path) -> None:
    broken = models.old(models.chunked())
    reshape(broken["UnetChunk2"].inputs, mid_link=(2, 5, 4, 8))
    reshape(broken["VAEDecoder"].outputs, image=(1, 3, 32, 128))
    violations = check_resources(workshop.folder(tmp_path / "Resources", broken), expectations("sd1"))
    assert [violation.what.partition(",")[0] for violation in violations] == [
        "the input mid_link is [2",
        "the output image is [1",
    ]


def test_a_shape_that_nobody_tells_is_no_violation(workshop: Workshop, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "Resources", models.old(models.diffusion()))
    program = folder / "VAEDecoder.mlmodelc" / "model.mil"
    told = program.read_text()
    program.write_text(told.replace("tensor<fp32, [1, 3, 64, 128]> image", "tensor<fp32, [1, 3, ?, ?]> image"))
    assert program.read_text() != told
    assert check_resources(folder, expectations("sd1")) == []


@pytest.mark.parametrize("name", INTERFACES)
def test_each_broken_interface_gives_its_line(name: str, workshop: Workshop, tmp_path: Path) -> None:
    good, damage, expected = INTERFACES[name]
    pipeline, make = PIPELINES[good]
    broken = make()
    damage(broken)
    folder = workshop.folder(tmp_path / "Resources", broken, tokenizer=good != "multilingual")
    (violation,) = check_resources(folder, expectations(pipeline))
    assert f"{violation.file}: {violation.what}".partition(" (")[0] == expected
    assert violation.why
    assert violation.remedy
    assert "\n" not in str(violation)


def test_a_line_says_file_what_why_and_remedy(workshop: Workshop, tmp_path: Path) -> None:
    broken = models.diffusion()
    reshape(broken["Unet"].inputs, encoder_hidden_states=(2, 77, 8))
    violations = check_resources(workshop.folder(tmp_path / "Resources", broken), expectations("sd1"))
    assert [str(violation) for violation in violations] == [
        "Unet.mlmodelc: the input encoder_hidden_states is [2, 77, 8], not [2, 6, 1, 77] (batch = 2 in the recipe, "
        "context = 6 in TextEncoder's last_hidden_state, tokens = 77 in this pipeline): shapes that do not fit each other "
        "stop the app; build it so, all models from one recipe"
    ]


def test_all_violations_come_at_once(workshop: Workshop, tmp_path: Path) -> None:
    broken = models.xl()
    broken["Unet"].inputs.pop("timestep")
    retype(broken["TextEncoder"].outputs, "Float16", "hidden_embeds")
    folder = workshop.folder(tmp_path / "Resources", broken, tokenizer=False)
    violations = check_resources(folder, expectations("sdxl"))
    assert [violation.file for violation in violations] == [
        "TextEncoder.mlmodelc",
        "Unet.mlmodelc",
        "vocab.json",
        "merges.txt",
    ]
    message = str(ContractError(violations))
    assert message.splitlines() == [
        "bundle: 4 violations of the Swift package's contract:",
        *(f"  {violation}" for violation in violations),
    ]


def lines(folder: Path, pipeline: str, **expected: object) -> list[str]:
    found = check_resources(folder, expectations(pipeline, **expected))
    return [f"{violation.file}: {violation.what}" for violation in found]


def test_the_batch_is_one_or_two_or_what_was_asked_for(workshop: Workshop, tmp_path: Path) -> None:
    def folder(batch: int) -> Path:
        model = models.diffusion()
        unet = model["Unet"]
        reshape(unet.inputs, sample=(batch, 4, 8, 16), timestep=(batch,), encoder_hidden_states=(batch, 6, 1, 77))
        reshape(unet.outputs, noise_pred=(batch, 4, 8, 16))
        return workshop.folder(tmp_path / str(batch), model)

    one, three = folder(1), folder(3)
    assert lines(one, "sd1", batch=None) == lines(one, "sd1", batch=1) == []
    assert lines(one, "sd1")[1] == "Unet.mlmodelc: the input timestep is [1], not [2] (batch = 2 in the recipe)"
    assert lines(three, "sd1", batch=None)[0] == (
        "Unet.mlmodelc: the input sample is [3, 4, 8, 16], not [1 or 2, 4, 8, 16]"
    )


def test_the_image_size_is_the_one_asked_for(workshop: Workshop, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "Resources", models.diffusion())
    found = check_resources(folder, expectations("sd1", height=128))
    assert [violation.file for violation in found] == ["Unet.mlmodelc"] * 2 + ["VAEDecoder.mlmodelc"] * 2
    assert found[0].what == (
        "the input sample is [2, 4, 8, 16], not [2, 4, 16, 16] (latent_height = 16 for an image height of 128)"
    )


def test_an_optional_model_that_was_asked_for_must_be_there(workshop: Workshop, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "Resources", models.diffusion())
    assert lines(folder, "sd1", models=["VAEEncoder"]) == ["VAEEncoder.mlmodelc: missing"]


def test_a_package_is_not_a_compiled_model(workshop: Workshop, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "Resources", models.diffusion())
    (folder / "Unet.mlmodelc").rename(folder / "Unet.mlpackage")
    assert lines(folder, "sd1") == ["Unet.mlmodelc: missing", "Unet.mlpackage: not a name that the app opens"]


def test_a_damaged_model_is_told_among_the_others(workshop: Workshop, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "Resources", models.chunked())
    (folder / "UnetChunk2.mlmodelc" / "weights" / "weight.bin").unlink()
    (folder / "VAEDecoder.mlmodelc" / "coremldata.bin").unlink()
    assert lines(folder, "sd1") == [
        "UnetChunk2.mlmodelc/weights/weight.bin: missing, though model.mil takes 1 weights from it",
        "VAEDecoder.mlmodelc/coremldata.bin: missing",
    ]


def test_a_vae_made_for_float16_may_compute_in_it(workshop: Workshop, tmp_path: Path) -> None:
    model = models.xl()
    retype(model["VAEDecoder"].inputs, "Float16", "z")
    folder = workshop.folder(tmp_path / "Resources", model)
    assert lines(folder, "sdxl", float16_vae=True) == []


def test_an_unknown_contract_and_a_missing_folder_are_the_callers_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no contract 'sd9'"):
        check_resources(tmp_path, Expectations("sd9"))
    with pytest.raises(UserError, match="no such folder"):
        check_resources(tmp_path / "Resources", expectations("sd1"))
