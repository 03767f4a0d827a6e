"""The whole job on the real model that comes with sdbuild, through the command line, in processes of its own."""

import hashlib
import importlib.util
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.engine.test_start_up import HEAVY, READING, SELDOM, STARTING, imported
from tests.once import once

MODEL = Path(__file__).parents[1] / "sdbuild/shapes/model"

RECIPE = """\
schema: 1
name: mine
pipeline: sd1
model: {source: "builtin:shapes"}
target: {os: iOS17, compute_units: cpuAndGPU}
resolution: 64x64
attention: original
"""


def command(store: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "sdbuild", *arguments]


def environment(store: Path, seed: int = 0) -> dict[str, str]:
    return {**os.environ, "SDBUILD_STORE": str(store), "PYTHONHASHSEED": str(seed), "COLUMNS": "200"}


def shadowed(folder: Path) -> dict[str, str]:
    """An environment in which coremltools is its protobuf messages alone; importing it leaves a file ``imported``."""
    found = importlib.util.find_spec("coremltools")
    assert found is not None and found.origin is not None
    package = folder / "shadow" / "coremltools"
    package.mkdir(parents=True)
    (package / "proto").symlink_to(Path(found.origin).parent / "proto")
    (package / "__init__.py").write_text('open(__file__.replace("__init__.py", "imported"), "w").close()')
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(package.parent), *([path] if path else [])])}


def sdbuild(
    folder: Path, store: Path, *arguments: str, seed: int = 0, variables: Mapping[str, str] | None = None
) -> str:
    """Run to a good end; the standard output."""
    folder.mkdir(exist_ok=True)
    result = subprocess.run(
        command(store, *arguments),
        cwd=folder,
        env=environment(store, seed) | dict(variables or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def tree(folder: Path) -> dict[str, str]:
    """Content by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ran(output: str) -> set[str]:
    """The tasks that a build says it ran: those with a time."""
    return set(re.findall(r"^\s*([a-z]+(?::\S+)?): [\d.]+ (?:s|ms|min)", output, re.MULTILINE))


def shapes_built() -> Path:
    """A folder with a build of the default recipe, made once for all tests: nobody changes it."""
    return once("shapes", lambda folder: sdbuild(folder, folder / "store", "build", seed=1, variables=shadowed(folder)))


def take_store(folder: Path) -> None:
    """Put a store of one's own there that has the default recipe's artifacts."""
    shutil.copytree(shapes_built() / "store", folder / "store", copy_function=shutil.copy2)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished build of the default recipe, and its store beside it."""
    folder = tmp_path_factory.mktemp("reference")
    take_store(folder)
    assert ran(sdbuild(folder, folder / "store", "build")) == set()
    return folder


def test_a_build_imports_nothing_of_coremltools_but_its_messages(tmp_path: Path) -> None:
    assert (shapes_built() / "build/shapes/manifest.json").exists()
    assert not (shapes_built() / "shadow/coremltools/imported").exists()
    run = [sys.executable, "-c", "import coremltools"]
    subprocess.run(run, env=os.environ | shadowed(tmp_path), check=True)
    assert (tmp_path / "shadow/coremltools/imported").exists()


def test_a_build_with_nothing_to_do_imports_nothing_that_runs_tasks(reference: Path) -> None:
    found = imported(reference, "build", "shapes")
    assert found >= READING and not found & (HEAVY | SELDOM | STARTING)


def test_the_default_build_ends_with_resources_for_swift(reference: Path) -> None:
    found = {path.name for path in (reference / "build/shapes/Resources").iterdir()}
    assert found == {"TextEncoder.mlmodelc", "Unet.mlmodelc", "VAEDecoder.mlmodelc", "vocab.json", "merges.txt"}
    packages = {path.name for path in (reference / "build/shapes/packages").iterdir()}
    assert packages == {"TextEncoder.mlpackage", "Unet.mlpackage", "VAEDecoder.mlpackage"}
    assert str(reference) not in (reference / "build/shapes/manifest.json").read_text()


def test_coremltools_opens_what_was_built(reference: Path) -> None:
    ct = pytest.importorskip("coremltools")
    for package in (reference / "build/shapes/packages").iterdir():
        model = ct.models.MLModel(str(package), skip_model_load=True)
        assert model.get_spec().specificationVersion == 8


def test_what_ships_computes_what_diffusers_does(reference: Path) -> None:
    import numpy as np
    import torch
    from diffusers import UNet2DConditionModel

    from sdbuild.coreml.runtime import load

    torch.set_num_threads(1)
    model = UNet2DConditionModel.from_pretrained(MODEL, subfolder="unet")
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn((2, 4, 8, 8), generator=generator).half()
    context = torch.randn((2, 77, model.config.cross_attention_dim), generator=generator).half()
    with torch.no_grad():
        expected = model(sample.float(), 501, context.float()).sample.numpy()
    feed = {
        "sample": sample.numpy(),
        "timestep": np.full(2, 501, np.float16),
        "encoder_hidden_states": context.transpose(1, 2).unsqueeze(2).numpy(),
    }
    result = load(reference / "build/shapes/Resources/Unet.mlmodelc").predict(feed)["noise_pred"]
    noise = np.sqrt(np.mean((expected - result) ** 2))
    assert 20 * np.log10(np.abs(expected).max() / noise) > 60


def test_a_second_build_runs_nothing_and_imports_nothing_heavy(reference: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sdbuild", "build"],
        cwd=reference, env=environment(reference / "store"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran(result.stdout) == set()
    imported = set(re.findall(r"\| +([\w.]+)$", result.stderr, re.MULTILINE))
    assert "sdbuild.plan.graph" in imported
    assert imported.isdisjoint({"torch", "coremltools", "diffusers", "transformers", "numpy", "huggingface_hub"})


def test_changes_rerun_what_depends_on_them_and_why_says_so(reference: Path, tmp_path: Path) -> None:
    store = reference / "store"
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE + "compress: {unet: [{palettize: {bits: 6}}]}\n")
    config = f"config={recipe}"
    assert ran(sdbuild(tmp_path, store, "build", config)) == {"compress:unet", "compile:unet", "bundle"}
    recipe.write_text(RECIPE + "compress: {unet: [{palettize: {bits: 4}}]}\n")
    assert "bits 6 → 4" in sdbuild(tmp_path, store, "why", config, "task=compress:unet")
    assert ran(sdbuild(tmp_path, store, "build", config)) == {"compress:unet", "compile:unet", "bundle"}
    recipe.write_text(RECIPE.replace("64x64", "96x64"))
    assert "width 64 → 96" in sdbuild(tmp_path, store, "why", config, "task=trace:unet")
    assert ran(sdbuild(tmp_path, store, "build", config)) == {
        f"{stage}:{name}" for stage in ("trace", "convert", "compile") for name in ("unet", "vae_decoder")
    } | {"bundle"}


def test_chunks_and_zip_of_every_attention_variant_pass_the_contract_check(reference: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        RECIPE.replace("attention: original\n", "")
        + "components: [text_encoder, unet, vae_decoder, vae_encoder]\nchunk: true\nbundle: {zip: true}\n"
        + "variants: [{name: v1, attention: split_einsum}, {name: v2, attention: split_einsum_v2}]\n"
    )
    sdbuild(tmp_path, reference / "store", "build", f"config={recipe}", "-n", "2")
    for variant in ("v1", "v2"):
        folder = tmp_path / "build/mine" / variant
        names = {path.name for path in (folder / "Resources").iterdir()}
        assert {"UnetChunk1.mlmodelc", "UnetChunk2.mlmodelc", "VAEEncoder.mlmodelc"} <= names
        assert "Unet.mlmodelc" not in names
        (archive,) = folder.glob("*.zip")
        with zipfile.ZipFile(archive) as opened:
            assert opened.testzip() is None
            assert {name.split("/")[0] for name in opened.namelist()} == {archive.stem}


def test_a_damaged_result_and_a_damaged_artifact_are_repaired(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "copy", copy_function=shutil.copy2)
    folder, store = tmp_path / "copy", tmp_path / "copy/store"
    sdbuild(folder, store, "build")
    for victim in store.glob("artifacts/convert/*/Unet.mlpackage/Data/com.apple.CoreML/weights/weight.bin"):
        victim.chmod(0o644)
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    shutil.rmtree(folder / "build/shapes/Resources/VAEDecoder.mlmodelc")
    assert "convert:unet" in ran(sdbuild(folder, store, "build"))
    assert tree(folder / "build/shapes") == tree(reference / "build/shapes")


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(kills: int, reference: Path, tmp_path: Path) -> None:
    """Now the build itself is killed, now one of its stages; each time the next build goes on."""
    chance = random.Random(7)
    store = tmp_path / "store"
    for number in range(kills):
        process = subprocess.Popen(
            command(store, "build", "-n", "2"), cwd=tmp_path, env=environment(store, number),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(0.2, 6))
        stages = children(process.pid)
        os.kill(chance.choice(stages) if stages and number % 2 else process.pid, signal.SIGKILL)
        process.wait()
    sdbuild(tmp_path, store, "build", "-n", "2")
    assert tree(tmp_path / "build/shapes") == tree(reference / "build/shapes")
    assert not list((store / "work").iterdir())


def children(pid: int) -> list[int]:
    """Stage processes of a build."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def test_two_builds_at_once_in_other_folders_share_the_work_and_make_the_same_bytes(
    reference: Path, tmp_path: Path
) -> None:
    """With another hash seed each, in another store than the reference's; one of them runs two stages at a time."""
    store = tmp_path / "another store"
    processes = []
    for seed, (name, jobs) in enumerate({"another place": "1", "b": "2"}.items(), start=2):
        (tmp_path / name).mkdir()
        build = command(store, "build", "-n", jobs)
        processes.append(
            subprocess.Popen(
                build, cwd=tmp_path / name, env=environment(store, seed), stdout=subprocess.PIPE, text=True
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    first, second = (ran(output) for output in outputs)
    assert first.isdisjoint(second)
    assert len(first | second) == 14
    for name in ("another place", "b"):
        assert tree(tmp_path / name / "build/shapes") == tree(reference / "build/shapes")
