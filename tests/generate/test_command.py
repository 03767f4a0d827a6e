"""The command: variables in, PNGs and a sheet out."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdbuild.engine.cli import run as sdbuild
from sdbuild.errors import UserError
from sdbuild.generate.command import BundleAt, run
from sdbuild.generate.request import VARIABLES, read_request

CIRCLE = "a large red circle on a blue background"
DIGEST = hashlib.sha256("a circle!\0A circle?\0a cross 日本".encode()).hexdigest()[:6]
FEW = {"steps": "2", "guidance": "2"}


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def text(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        return dict(image.text)


def test_one_image(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = run([BundleAt("shapes", whole)], {"prompt": CIRCLE, **FEW}, tmp_path).written
    assert path == tmp_path / "build/images/shapes/a-large-red-circle-on-a-blue-background-93.png"
    assert names(tmp_path) == [path.relative_to(tmp_path).as_posix()]
    told = capsys.readouterr()
    assert told.out == f"{path.relative_to(tmp_path)}\n"
    assert told.err == "shapes: encode prompts\nshapes: image 1 of 1, seed 93\nshapes: decode\n"
    assert text(path)["recipe"] == "shapes"


def test_prompts_seeds_and_a_sheet(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(
        "\ufeff# mine\na circle!\r\n\n  A circle? \na cross 日本\na circle!\n", "utf-8"
    )
    variables = {"prompts": "prompts.txt", "count": "2", "seed": "7", "out": "mine", **FEW}
    outcome = run([BundleAt("shapes", whole)], variables, tmp_path)
    written = outcome.written
    assert [path.relative_to(tmp_path / "mine").as_posix() for path in written] == [
        "a-circle-7.png",
        "a-circle-8.png",
        "a-circle-2-7.png",
        "a-circle-2-8.png",
        "a-cross-日本-7.png",
        "a-cross-日本-8.png",
        f"sheet-a-circle-and-2-more-{DIGEST}-7-to-8.png",
    ]
    assert [(image["prompt"], image["seed"]) for image in outcome.images[:3]] == [
        ("a circle!", 7),
        ("a circle!", 8),
        ("A circle?", 7),
    ]
    assert [text(path)["prompt"] for path in written[:6:2]] == ["a circle!", "A circle?", "a cross 日本"]
    assert "seed" not in text(written[6])
    assert text(written[6])["recipe"] == "shapes"
    with Image.open(written[6]) as sheet:
        assert sheet.width > 2 * 160


def test_the_same_bytes_every_time(whole: Path, tmp_path: Path) -> None:
    variables = {"prompt": CIRCLE, "count": "2", **FEW}
    for folder in ("a", "b"):
        run([BundleAt("shapes", whole)], variables | {"out": folder}, tmp_path)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_variants_side_by_side(whole: Path, chunked: Path, tmp_path: Path) -> None:
    bundles = [BundleAt("shapes", whole, "whole"), BundleAt("shapes", chunked, "chunked")]
    written = run(bundles, {"prompt": "x" * 300, "out": str(tmp_path), **FEW}, tmp_path).written
    stem = "x" * 60
    assert names(tmp_path) == [f"chunked/{stem}-93.png", f"sheet-{stem}-93.png", f"whole/{stem}-93.png"]
    assert [text(path)["variant"] for path in written[:2]] == ["whole", "chunked"]
    assert "variant" not in text(written[2])
    with Image.open(written[2]) as sheet, Image.open(written[0]) as tile:
        large = np.asarray(tile).repeat(3, 0).repeat(3, 1)
        assert any(
            np.array_equal(np.asarray(sheet)[top : top + 192, 16 : 16 + 192], large)
            for top in range(sheet.height - 192)
        )


def test_notes_are_told(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run([BundleAt("shapes", whole)], {"prompt": "日", "steps": "1"}, tmp_path)
    assert "note: the app's tokenizer does not know, and reads as the prompt's end: '日'\n" in capsys.readouterr().err


def test_nothing_is_generated_when_one_bundle_cannot(whole: Path, tmp_path: Path) -> None:
    bundles = [BundleAt("shapes", whole, "a"), BundleAt("shapes", tmp_path / "missing", "b")]
    with pytest.raises(UserError, match="missing: no bundle there"):
        run(bundles, {"prompt": CIRCLE, **FEW}, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"out=.*file: cannot be written to"):
        run(bundles[:1], {"prompt": CIRCLE, "out": "file", **FEW}, tmp_path)
    assert names(tmp_path) == []


def test_without_a_recipe(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "a=b").symlink_to(whole.parent)
    command = [sys.executable, "-m", "sdbuild.generate", str(tmp_path / "a=b" / whole.name)]
    good = subprocess.run(
        [*command, "prompt=a=b", "steps=1", "recipe=mine"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (good.returncode, good.stdout) == (0, f"build/images/mine/{whole.name}/a-b-93.png\n")
    bad = subprocess.run([*command, "prompt=x", "steps=none"], cwd=tmp_path, capture_output=True, text=True)
    assert (bad.returncode, bad.stderr) == (3, "error: steps=none: must be a whole number\n")


@pytest.mark.parametrize(
    ("words", "status", "beginning"),
    [
        (["--help"], 0, "Generate without a recipe"),
        (["-h"], 0, "Generate without a recipe"),
        (["prompt=x"], 3, "error: no bundle is named\nGenerate without a recipe"),
        (["--steps", "prompt=x"], 3, "error: unknown option --steps: write name=value"),
        (["nowhere", "json=1", "seed=x"], 3, '{"error": "seed=x: must be a whole number'),
    ],
)
def test_the_module_alone(words: list[str], status: int, beginning: str) -> None:
    done = subprocess.run([sys.executable, "-m", "sdbuild.generate", *words], capture_output=True, text=True)
    assert done.returncode == status and (done.stdout + done.stderr).startswith(beginning)


def test_json(whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["generate", f"bundle={whole}", "prompt=日", "steps=1", f"out={tmp_path}", "json=1"]
    assert sdbuild(words, tmp_path) == 0
    told = capfd.readouterr()
    document = json.loads(told.out)
    path = str(tmp_path / "日-93.png")
    assert document["images"] == [{"path": path, "variant": None, "prompt": "日", "seed": 93}]
    assert Path(path).is_file() and document["sheet"] is None and "'日'" in document["notes"][0]
    assert sdbuild([*words, "image=none.png"], tmp_path) == 3
    told = capfd.readouterr()
    (error,) = json.loads(told.out)["errors"]
    assert told.err == f"error: {error['message']}\n" and "no VAEEncoder" in error["message"]


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    wrong = {
        "promt": "x",
        "steps": "0",
        "seed": "x",
        "count": "0",
        "guidance": "much",
        "scheduler": "eulr",
        "rng": "mine",
    }
    wrong |= {"precision": "int8", "memory": "lots", "prompts": "none.txt", "sizes": ""}
    with pytest.raises(UserError) as error:
        read_request(wrong, tmp_path)
    for name in wrong:
        assert f"{name}=" in str(error.value) or f"'{name}'" in str(error.value), name


def test_variables_with_their_defaults(tmp_path: Path) -> None:
    request = read_request({"prompt": "x"}, tmp_path)
    assert (request.prompts, request.seeds, request.out, request.memory) == (("x",), (93,), None, None)
    assert (request.options.steps, request.options.guidance, request.options.rng) == (None, None, "numpy")
    everything = {name: "1" for name in VARIABLES if name != "prompts"}
    everything |= {"scheduler": "ddim", "rng": "torch", "precision": "float16", "memory": "1.5 GiB", "negative": ""}
    everything |= {"prediction": "v_prediction"}
    request = read_request(everything, tmp_path)
    assert request.memory == 3 << 29
    assert request.options.image == tmp_path / "1"
    assert request.options.strength == 1.0


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, 'say what to generate, such as prompt="a photo of a cat"'),
        ({"prompt": ""}, "prompt= is empty; what the image should show"),
        ({"prompt": " \t"}, "prompt= is empty; what the image should show"),
        ({"prompt": "x", "prompts": "y"}, "give prompt= or prompts=, not both"),
        ({"prompt": "x", "guidence": "2"}, "unknown variable 'guidence': did you mean 'guidance'?"),
        ({"prompt": "x", "steps": "2.5"}, "steps=2.5: must be a whole number"),
        ({"prompt": "x", "steps": "0"}, "steps=0: must be from 1 to 1000"),
        ({"prompt": "x", "guidance": "much"}, "guidance=much: must be a number"),
        ({"prompt": "x", "guidance": "inf"}, "guidance=inf: must be from 0 to 100"),
        ({"prompt": "x", "count": "0"}, "count=0: must be from 1 to 1000"),
        (
            {"prompt": "x", "count": "2", "seed": "4294967295"},
            "seed=4294967295: with count=2 it must be from 0 to 4294967294",
        ),
        ({"prompt": "x", "seed": "١"}, "seed=١: must be a whole number"),
        ({"prompt": "x", "precision": "int8"}, "precision=int8: choose float32, or float16"),
        ({"prompt": "x", "prediction": "noise"}, "prediction=noise: choose epsilon or v_prediction"),
        ({"prompt": "x", "vae_scale": "small"}, "vae_scale=small: must be a number"),
        ({"prompt": "x", "sizes": "1.5"}, "sizes=1.5: choose image"),
        ({"prompt": "x", "memory": "lots"}, "memory=lots: write a number and its unit, kB, MB, GB or TB .*: 500MB"),
        ({"prompt": "x", "strength": "2", "image": "y"}, "strength=2: must be above 0"),
        ({"prompts": "none.txt"}, r"prompts=.*none.txt: cannot be read \(No such file"),
        ({"prompts": "."}, r"prompts=.*: cannot be read"),
        ({"prompts": "empty.txt"}, r"prompts=.*empty.txt: there is no prompt in it"),
        ({"prompts": "bytes.txt"}, r"prompts=.*bytes.txt: is not UTF-8 text"),
    ],
)
def test_variables_that_cannot_be(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "bytes.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match=message):
        read_request(variables, tmp_path)


def test_a_prompt_that_the_locale_cant_carry() -> None:
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import sys; from sdbuild.generate.options import check_text; check_text('prompt', sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, "日本 é"], env=ascii_only, capture_output=True, text=True)
    assert (
        "prompt=: this locale can't carry it" in done.stderr and "set LANG and LC_ALL to one with UTF-8" in done.stderr
    )
