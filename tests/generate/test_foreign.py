"""Bundles that others built: no manifest, outputs without shapes, zips, and repositories laid out as on the hub."""

import contextlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.proto import Model_pb2
from sdbuild.errors import UserError
from sdbuild.generate import Pipeline
from sdbuild.generate.foreign import open_bundle
from sdbuild.generate.places import find_place, name_of

CIRCLE = "a large red circle on a blue background"
SAID = {"prediction_type": "epsilon"}


def resources(bundle: Path, folder: Path) -> Path:
    """A Resources folder as Apple's are: no manifest, and no output's shape described."""
    shutil.copytree(bundle / "Resources", folder)
    for model in folder.glob("*.mlmodelc"):
        data = (model / "coremldata.bin").read_bytes()
        (size,) = struct.unpack_from("<Q", data, 0x4B)
        description = Model_pb2.ModelDescription()
        description.ParseFromString(data[0x53 : 0x53 + size])
        for output in description.output:
            del output.type.multiArrayType.shape[:]
        described = description.SerializeToString()
        whole = data[:0x4B] + struct.pack("<Q", len(described)) + described + data[0x53 + size :]
        (model / "coremldata.bin").unlink()  # a link to the store of the test's own bundle, maybe
        (model / "coremldata.bin").write_bytes(whole)
        metadata = json.loads((model / "metadata.json").read_text())
        for output in metadata[0]["outputSchema"]:
            output["shape"] = "[]"
        (model / "metadata.json").unlink()
        (model / "metadata.json").write_text(json.dumps(metadata))
    return folder


@pytest.fixture
def apples(whole: Path, tmp_path: Path) -> Path:
    return resources(whole, tmp_path / "Resources")


def test_the_manifest_beside_resources_is_found(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_place(whole / "Resources").folder == whole
    monkeypatch.chdir(whole / "Resources")
    assert open_bundle(Path()).facts == open_bundle(whole).facts
    other = tmp_path / "Resources"
    other.symlink_to(whole / "Resources")  # somebody's link is read for where it leads
    assert find_place(other).folder == whole
    (tmp_path / "copy/Resources/Unet.mlmodelc").mkdir(parents=True)
    for text in ("{", "[]", '{"schema": 1}'):  # of a web page, say
        (tmp_path / "copy/manifest.json").write_text(text)
        assert find_place(tmp_path / "copy/Resources").folder == tmp_path / "copy/Resources"


def zipped(folder: Path, path: Path, stem: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(file, f"{stem}{file.relative_to(folder).as_posix()}")
    return path


def test_it_generates_what_it_does_with_a_manifest(whole: Path, apples: Path) -> None:
    options: dict[str, Any] = {"seed": 3, "steps": 3, "guidance": 2, "scheduler": "ddim"}
    known = Pipeline.open(whole).generate(CIRCLE, **options)
    found = Pipeline.open(apples, **SAID).generate(CIRCLE, **options)
    assert np.array_equal(known.pixels, found.pixels)
    (note,) = found.notes
    assert note.startswith("no manifest.json: taken for sd1 of 64x64 with vae_scale 0.18215, epsilon")
    assert set(json.loads(found.metadata["models_sha256"])) == {"TextEncoder", "Unet", "VAEDecoder"}


def test_chunks_batch_and_a_zip_of_them(chunked: Path, tmp_path: Path) -> None:
    folder = resources(chunked, tmp_path / "split_einsum" / "compiled")
    path = zipped(folder, tmp_path / "someone_model_split_einsum_compiled.zip", "someone_model_split_einsum_compiled/")
    pipeline = Pipeline.open(path, **SAID)
    place = pipeline.bundle.resources
    assert place.is_dir()
    options: dict[str, Any] = {"seed": 3, "steps": 2, "scheduler": "ddim"}
    assert np.array_equal(
        pipeline.generate(CIRCLE, **options).pixels, Pipeline.open(chunked).generate(CIRCLE, **options).pixels
    )
    assert pipeline.generate(CIRCLE, **options).metadata["recipe"] == "someone_model_split_einsum_compiled"
    del pipeline
    assert not place.exists()


def test_a_zip_that_a_killed_process_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one removes it, and nothing that a living process has."""
    (tmp_path / "a" / "Unet.mlmodelc").mkdir(parents=True)
    (tmp_path / "a" / "Unet.mlmodelc" / "model.mil").write_text("program")
    path, temporary = zipped(tmp_path / "a", tmp_path / "a.zip"), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for other in ("sdbuild-unpacked-other", "else"):
        (temporary / other).mkdir()
    command = (
        "import sys; from pathlib import Path; from sdbuild.generate.places import find_place\n"
        "place = find_place(Path(sys.argv[1])); print(place.folder, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    ) as process:
        assert process.stdout is not None
        unpacked = Path(process.stdout.readline().strip())
        first = find_place(path)
        assert (unpacked / "Unet.mlmodelc" / "model.mil").is_file() and first.folder.is_dir()
        process.kill()
    assert unpacked.is_dir()
    second = find_place(path)
    assert not unpacked.exists() and first.folder.is_dir() and second.folder.is_dir()
    del first, second
    assert sorted(each.name for each in temporary.iterdir()) == ["else", "sdbuild-unpacked-other"]


def test_sdxl_with_sizes_in_one_row(large: Path, tmp_path: Path) -> None:
    bundle = open_bundle(resources(large, tmp_path / "Resources"), "v_prediction")
    assert (bundle.pipeline, bundle.facts.vae_scale, bundle.facts.height, bundle.facts.width) == (
        "sdxl",
        0.13025,
        64,
        128,
    )
    assert (bundle.facts.tokens, bundle.facts.vae_factor, bundle.facts.scheduler["prediction_type"]) == (
        77,
        8,
        "v_prediction",
    )
    assert open_bundle(tmp_path / "Resources", "epsilon", 0.5).facts.vae_scale == 0.5


def test_what_the_models_do_not_tell_is_asked_for(apples: Path) -> None:
    with pytest.raises(UserError, match="the models don't say what the UNet predicts: give prediction=epsilon"):
        Pipeline.open(apples)
    with pytest.raises(UserError, match="prediction=noise: choose epsilon or v_prediction"):
        Pipeline.open(apples, prediction_type="noise")
    with pytest.raises(UserError, match=r"vae_scale=0: must be from 0\.001 to 1000"):
        Pipeline.open(apples, prediction_type="epsilon", vae_scale=0)


def test_what_a_manifest_says_is_not_asked_for(whole: Path) -> None:
    with pytest.raises(UserError, match=r"prediction=: the bundle's manifest.json says it \(epsilon\)"):
        Pipeline.open(whole, **SAID)
    with pytest.raises(UserError, match=r"vae_scale=: the bundle's manifest.json says it \([\d.]+\)"):
        Pipeline.open(whole, vae_scale=0.5)


@pytest.mark.parametrize(
    "inside", ["compiled", "original/compiled", "snapshots/0123/original_512x768/compiled", "Resources"]
)
def test_a_repository_as_on_the_hub(inside: str, apples: Path, tmp_path: Path) -> None:
    repository = tmp_path / "coreml-model"
    (repository / inside).parent.mkdir(parents=True)
    apples.rename(repository / inside)
    (repository / "original" / "packages" / "Unet.mlpackage").mkdir(parents=True)
    assert find_place(repository).folder == repository / inside
    assert name_of(repository / inside) == inside.split("/")[2] if "512" in inside else "coreml-model"


def test_of_several_one_must_be_named(apples: Path, whole: Path, tmp_path: Path) -> None:
    repository = tmp_path / "model"
    for attention in ("original", "split_einsum"):
        shutil.copytree(apples, repository / attention / "compiled")
    with pytest.raises(
        UserError, match=r"several bundles \(original/compiled, split_einsum/compiled\): name one, such as"
    ):
        find_place(repository)
    path = zipped(repository, tmp_path / "model.zip")
    with pytest.raises(UserError, match=r"model.zip: holds several bundles .*: unpack it, and name one"):
        find_place(path)


def test_what_is_there_instead_is_named(tmp_path: Path) -> None:
    (tmp_path / "one" / "original" / "packages" / "Unet.mlpackage").mkdir(parents=True)
    with pytest.raises(UserError, match=r"packages that are not compiled \(Unet.mlpackage\)"):
        find_place(tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "model_compiled.zip").write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match=r"no bundle there, but zips \(model_compiled.zip\): name one"):
        find_place(tmp_path / "two")
    with pytest.raises(UserError, match="no zip, or not a whole one"):
        find_place(tmp_path / "two" / "model_compiled.zip")
    pointer = tmp_path / "pointer.zip"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match="pointer of Git LFS"):
        find_place(pointer)


def _entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (_entry("../outside.txt"), "would lie outside"),
        (_entry("model/../../outside.txt"), "would lie outside"),
        (_entry("/outside.txt"), "would lie outside"),
        (_entry("C:/outside.txt"), "would lie outside"),
        (_entry("..\\outside.txt"), "would lie outside"),
        (_entry("model/link", stat.S_IFLNK | 0o777), "is no file: a link"),
        (_entry("model/vocab.json"), "is there twice"),
    ],
)
def test_a_zip_writes_nothing_outside_of_its_folder(
    entry: zipfile.ZipInfo, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/vocab.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate") if "twice" in why else contextlib.nullcontext():
            archive.writestr(entry, "content")
    with pytest.raises(UserError, match=f"^{path}: not unpacked: its entry .* {why}"):
        find_place(path)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["model.zip", "temporary"]


def test_a_damaged_zip(apples: Path, tmp_path: Path) -> None:
    path = zipped(apples, tmp_path / "model.zip")
    content = bytearray(path.read_bytes())
    content[100:40_000] = bytes(39_900)
    path.write_bytes(content)
    with pytest.raises(UserError, match="a damaged zip"):
        find_place(path)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("Unet", "no Unet, nor its two chunks, among these models: TextEncoder, VAEDecoder"),
        ("VAEDecoder", "no VAEDecoder among these models: TextEncoder, Unet"),
        ("TextEncoder", "no TextEncoder among these models: Unet, VAEDecoder"),
    ],
)
def test_missing_models(removed: str, message: str, apples: Path) -> None:
    shutil.rmtree(apples / f"{removed}.mlmodelc")
    with pytest.raises(UserError, match=message):
        Pipeline.open(apples, **SAID)


def test_models_that_do_not_belong_together(apples: Path, large: Path) -> None:
    shutil.rmtree(apples / "VAEDecoder.mlmodelc")
    shutil.copytree(large / "Resources" / "VAEDecoder.mlmodelc", apples / "VAEDecoder.mlmodelc")
    with pytest.raises(
        UserError, match=r"VAEDecoder takes Float16 \[1, 4, 8, 16\].*: the models are not of one bundle"
    ):
        Pipeline.open(apples, **SAID)


def test_pointers_and_damage(apples: Path) -> None:
    weights = apples / "Unet.mlmodelc" / "weights" / "weight.bin"
    weights.unlink()
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match=r"weight.bin: it is a pointer of Git LFS, .* run `git lfs pull`"):
        Pipeline.open(apples, **SAID)
    weights.unlink()
    (apples / "Unet.mlmodelc" / "coremldata.bin").write_bytes(b"\1" * 40)
    with pytest.raises(UserError, match=r"Unet.mlmodelc/coremldata.bin: damaged"):
        Pipeline.open(apples, **SAID)


def test_from_the_command_line(apples: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sdbuild", "generate", f"bundle={apples}", "prompt=a b", "steps=1"]
    good = subprocess.run([*command, "prediction=epsilon"], cwd=tmp_path, capture_output=True, text=True)
    assert (good.returncode, good.stdout) == (0, f"build/images/{tmp_path.name}/a-b-93.png\n")
    assert "note: no manifest.json" in good.stderr
    bad = subprocess.run([*command, "config=shapes"], cwd=tmp_path, capture_output=True, text=True)
    assert bad.returncode != 0
    assert "give bundle= or config=, not both" in bad.stderr
