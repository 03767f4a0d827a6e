"""The bundle stage: from compiled models and configurations to Resources, manifest and zip."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbuild.distillation import Wants
from sdbuild.errors import UserError
from sdbuild.job import Found
from sdbuild.jobs.bundle import Bundle, Merged, Shipped
from sdbuild.jobs.compile import Compiler
from sdbuild.recipe import load_family
from sdbuild.wiring import Sizes
from tests.bundle.models import MERGES, VOCABULARY, Interface, Workshop, chunked
from tests.execute import run

ZIP = "shapes_6bit_split_einsum_compiled"
SIZES = Sizes(height=64, width=128, batch=2, tokens=77, latent_channels=4, vae_factor=8, vae_scale=0.18215)
COMPONENTS = {"text_encoder": "TextEncoder", "unet": "Unet", "vae_decoder": "VAEDecoder"}


def _write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def job(path: Path, models: dict[str, Interface], **changes: Any) -> Bundle:
    """A job for SD 1 in two chunks, as the plan writes it."""
    (path / "workshop").mkdir()
    workshop = Workshop(path / "workshop")
    config = path / "config"
    tokenizer = [
        _write(config / "tokenizer" / name, content)
        for name, content in (("vocab.json", VOCABULARY), ("merges.txt", MERGES.replace("\n", "\r\n")))
    ]
    scheduler = {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "prediction_type": "v_prediction"}
    digests = [{"name": name, "size": 3, "sha256": digest * 64} for name, digest in (("b", "1"), ("a", "2"))]
    weights = _write(config / "weights.json", {"files": digests})
    components = {}
    for component, swift_name in COMPONENTS.items():
        local = component == "vae_decoder"
        record = {"commit": None if local else "0" * 40, "files": []}
        components[component] = Shipped(
            precision="float16",
            compress=({"palettize": {"bits": 6}},) if component == "unet" else (),
            origin={"local": ""} if local else {"hub": "org/model"},
            models={
                name: Found(workshop.compiled(models[name])) for name in sorted(models) if name.startswith(swift_name)
            },
            files=Found(_write(config / f"{component}.json", record)),
            weights=Found(weights) if local else None,
        )
    whole = Bundle(
        pipeline="sd1",
        contract="stable_diffusion",
        networks=tuple(
            load_family("sd1").components[name].part(name, each.models) for name, each in components.items()
        ),
        scheduler_overrides={"steps_offset": 1},
        components=components,
        sizes=SIZES,
        attention="split_einsum",
        compute_units="cpuAndNeuralEngine",
        os="iOS16",
        compiler=Compiler(compiler="portable"),
        tools={"torch": "2.13.0"},
        zip=ZIP,
        tokenizers=(Found(tokenizer[0].parent),),
        scheduler=Found(_write(config / "scheduler_config.json", scheduler)),
        notes=Found(_write(config / "notes.json", ["bring a scheduler"])),
    )
    return replace(whole, **changes)


def test_resources_manifest_and_zip(tmp_path: Path) -> None:
    news: list[tuple[int, int, str]] = []
    output = run(job(tmp_path, chunked()), tmp_path, lambda *each: news.append(each))
    assert sorted(entry.name for entry in output.iterdir()) == ["Resources", "manifest.json", f"{ZIP}.zip"]
    assert sorted(entry.name for entry in (output / "Resources").iterdir()) == [
        "TextEncoder.mlmodelc",
        "UnetChunk1.mlmodelc",
        "UnetChunk2.mlmodelc",
        "VAEDecoder.mlmodelc",
        "merges.txt",
        "vocab.json",
    ]
    text = (output / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["latents"]["vae_scale"] == 0.18215
    assert manifest["notes"] == ["bring a scheduler"]
    assert "defaults" not in manifest
    assert manifest["scheduler"]["prediction_type"] == "v_prediction"
    content = hashlib.sha256(f"{'2' * 64}  a\n{'1' * 64}  b\n".encode()).hexdigest()
    of_hub = {"hub": "org/model", "commit": "0" * 40}
    assert manifest["sources"] == {"text_encoder": of_hub, "unet": of_hub, "vae_decoder": {"local": content}}
    assert manifest["denoiser"] == {"attention": "split_einsum", "batch": 2, "chunked": True}
    assert [(each["role"], each["models"]) for each in manifest["networks"]] == [
        ("text_encoder", ["TextEncoder"]),
        ("denoiser", ["UnetChunk1", "UnetChunk2"]),
        ("decoder", ["VAEDecoder"]),
    ]
    assert manifest["models"]["UnetChunk2"]["compression"] == [{"palettize": {"bits": 6}}]
    assert manifest["models"]["TextEncoder"]["compression"] == []
    assert str(tmp_path) not in text
    with zipfile.ZipFile(output / f"{ZIP}.zip") as archive:
        assert archive.read(f"{ZIP}/manifest.json").decode() == text
        assert archive.read(f"{ZIP}/merges.txt").decode() == MERGES
        assert len(archive.namelist()) == len(manifest["files"]) + 1
    done, totals, units = zip(*news, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == totals[0] == 2 * manifest["size"]
    assert (set(totals), set(units)) == ({totals[0]}, {"B"})


def test_how_to_generate(tmp_path: Path) -> None:
    defaults = {"steps": 4, "guidance": 1.0, "scheduler": "lcm"}
    output = run(job(tmp_path, chunked(), defaults=defaults, zip=None), tmp_path)
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["defaults"] == defaults
    first, second = manifest["notes"]
    assert first == "bring a scheduler"
    assert second.startswith("images come out wrong with the Swift package's schedulers")
    assert "as the model wants LCMScheduler" in second


def test_what_a_lora_for_few_steps_wants(tmp_path: Path) -> None:
    wants, by = Wants("LCM", ("lcm",)), "its metadata, lcm-lora"
    lora = Merged(
        origin={},
        weight={"*": 1.0},
        blocks=None,
        found=Found(_write(tmp_path / "lora" / "found.json", {"commit": None})),
        file=Found(_write(tmp_path / "lora" / "file.json", {"files": [{"name": "x.safetensors", "sha256": "3" * 64}]})),
        about=Found(_write(tmp_path / "lora" / "about.json", {"distilled": wants.data(by)})),
    )
    given = job(tmp_path, chunked(), zip=None, loras={"mine": lora}, defaults={"steps": 4, "scheduler": "lcm"})
    warned: list[str] = []
    manifest = json.loads((run(given, tmp_path, warn=warned.append) / "manifest.json").read_text())
    assert manifest["loras"]["mine"]["distilled"] == wants.data(by)
    note = "mine is a LoRA of LCM, by its metadata, lcm-lora, which wants 2 to 8 steps, no guidance, and the scheduler lcm; "
    assert manifest["notes"][-1] == f"{note}the recipe has guidance of 7.5 by default"
    assert warned[-1] == f"{manifest['notes'][-1]}; write generate: {{steps: 4, guidance: 1, scheduler: lcm}}"


def test_without_a_zip_there_is_none(tmp_path: Path) -> None:
    run(job(tmp_path, chunked(), zip=None), tmp_path)
    assert sorted(entry.name for entry in (tmp_path / "output").iterdir()) == ["Resources", "manifest.json"]


def test_the_same_inputs_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    outputs = []
    for place in (tmp_path / "here", tmp_path / "there"):
        place.mkdir()
        run(job(place, chunked()), place)
        outputs.append({p.relative_to(place): p.read_bytes() for p in (place / "output").rglob("*") if p.is_file()})
    assert outputs[0] == outputs[1]


def test_a_broken_contract_fails_with_every_violation(tmp_path: Path) -> None:
    models = chunked()
    del models["VAEDecoder"]
    models["UnetChunk1"].outputs["mid_link"] = ("Float16", (2, 5, 4, 4))
    with pytest.raises(UserError) as failure:
        run(job(tmp_path, models), tmp_path)
    first, *lines = str(failure.value).splitlines()
    assert first == "bundle: 2 violations of the Swift package's contract:"
    assert [line.split(": ")[0].strip() for line in lines] == ["UnetChunk1.mlmodelc", "VAEDecoder.mlmodelc"]
    assert not (tmp_path / "output" / "manifest.json").exists()


def test_a_model_of_another_size_than_the_recipe_says(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"latent_height = 16 for an image height of 128"):
        run(job(tmp_path, chunked(), sizes=replace(SIZES, height=128)), tmp_path)


def test_marks_among_the_weights_of_the_unet_are_in_the_manifest(tmp_path: Path) -> None:
    warnings: list[str] = []
    (tmp_path / "unet").mkdir()
    save_file({"ztsnr": np.zeros(0, np.float32)}, tmp_path / "unet" / "model.safetensors")
    run(job(tmp_path, chunked(), denoiser=Found(tmp_path / "unet")), tmp_path, warn=warnings.append)
    manifest = json.loads((tmp_path / "output" / "manifest.json").read_text())
    assert manifest["scheduler"]["rescale_betas_zero_snr"] is True
    assert warnings[0].startswith("rescale_betas_zero_snr is true, by the mark ztsnr")
    assert manifest["notes"] == ["bring a scheduler", *warnings]
