"""Files in whose place something else lies."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sdbuild.bundle.compiled import read_compiled
from sdbuild.bundle.tokenizer import check_tokenizer
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.runtime import load
from sdbuild.errors import UserError
from sdbuild.generate.foreign import open_bundle
from sdbuild.generate.images import read_image
from sdbuild.generate.request import read_request
from sdbuild.generate.tokenizer import Tokenizer
from sdbuild.modeling.checkpoint import Checkpoint, weight_files
from sdbuild.recipe.files import read_text
from sdbuild.standins import stand_in, text_instead
from tests.coreml.compiler.models import linear
from tests.generate.bundles import MODEL
from tests.sources.make_models import sd1, sharded
from tests.sources.test_contents import PAGE, POINTER
from tests.sources.test_survey import look


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 12\n", "is a pointer of Git LFS"),
        (b"/annex/objects/SHA256E-s1--2.safetensors\n", "is a pointer of git-annex"),
        (b"<!doctype html>\n<title>Sign in</title>", "is a web page"),
        (b"\xef\xbb\xbf\r\n <HTML>", "is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is XML"),
        (b"\0" * 512, "begins with nothing but zeros"),
    ],
)
def test_stand_ins(start: bytes, told: str) -> None:
    assert str(stand_in(start)).startswith(told)


@pytest.mark.parametrize(
    "start", [b'{"a": 1}', b"#version: 0.2\nb c</w>\n", b"< a\n", b"PK\x03\x04", b"\x58\0\0\0\0\0\0\0{", b"version 3"]
)
def test_what_may_be_the_file(start: bytes) -> None:
    assert stand_in(start) is None


def test_text_where_none_can_be() -> None:
    assert text_instead(b"Invalid username or password.") == (
        'is text ("Invalid username or password."), such as a server\'s error: download the file itself'
    )
    assert text_instead(b"\n../../blobs/0123456789") is not None
    assert text_instead(b"\x58\0\0\0\0\0\0\0{") is None


def _package(folder: Path) -> Path:
    return linear().package(folder / "a.mlpackage")


def _compiled(folder: Path) -> Path:
    compile_package(_package(folder), folder / "a.mlmodelc")
    return folder / "a.mlmodelc"


def _resources(folder: Path) -> Path:
    """Looked into before the models are, which are not those of a pipeline."""
    _compiled(folder).rename(folder / "Unet.mlmodelc")
    return folder


def _tokenizer(folder: Path) -> Path:
    shutil.copytree(MODEL / "tokenizer", folder / "tokenizer")
    return folder / "tokenizer"


def _with_manifest(folder: Path) -> Path:
    (folder / "manifest.json").write_text("{}")
    return folder


def _with_weights_in_manifest(folder: Path) -> Path:
    manifest = {"schema": 1, "pipeline": "sd1", "files": {"weight.bin": {"size": 1000}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _run(path: Path) -> None:
    load(path).predict({"x": np.zeros((1, 4), np.float16)})


def _check_model(path: Path) -> None:
    _, violations = read_compiled(path, path.name)
    assert len(violations) == 1 and "compile the package again" not in str(violations[0])
    raise UserError(str(violations[0]))


def _check_tokenizer(path: Path) -> None:
    violations = check_tokenizer(path, ["vocab.json", "merges.txt"], ["<|startoftext|>"])
    assert len(violations) == 1
    raise UserError(str(violations[0]))


def _of_source(path: Path) -> None:
    look(sd1() | {"tokenizer/added_tokens.json": b"{}"} | _contents(path), path / "source")


def _source_with_tokenizer_json(path: Path) -> None:
    files = {name: content for name, content in sd1().items() if not name.startswith("tokenizer/")}
    look(files | _contents(path), path / "source")


def _source_in_shards(path: Path) -> None:
    look(sharded(sd1(), "unet", STEM) | _contents(path), path / "source")


def _contents(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


STEM = "diffusion_pytorch_model"
WHOLE = ("Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin")
COMPILED = ("model.mil", "coremldata.bin", "weights/weight.bin")
TOKENIZER = ("vocab.json", "merges.txt")
OPENED: list[tuple[Callable[[Path], Path], Callable[[Path], object], tuple[str, ...]]] = [
    (lambda path: path, lambda path: load(path / "a.mlpackage"), ("a.mlpackage",)),
    (lambda path: path, lambda path: load(path / "a.mlmodelc"), ("a.mlmodelc",)),
    (lambda path: path, lambda path: _check_model(path / "a.mlmodelc"), ("a.mlmodelc",)),
    (_package, _run, WHOLE),
    (_package, lambda path: compile_package(path, path.parent / "b.mlmodelc"), WHOLE[:2]),
    (_compiled, _run, COMPILED),
    (_compiled, _check_model, (*COMPILED, "metadata.json")),
    (_resources, lambda path: open_bundle(path, "epsilon"), tuple(f"Unet.mlmodelc/{file}" for file in COMPILED)),
    (_with_manifest, open_bundle, ("manifest.json",)),
    (_with_weights_in_manifest, open_bundle, ("weight.bin",)),
    (lambda path: path, lambda path: open_bundle(path / "a.zip"), ("a.zip",)),
    (_tokenizer, Tokenizer.read, TOKENIZER),
    (_tokenizer, _check_tokenizer, TOKENIZER),
    (lambda path: path, lambda path: read_image(path / "a.png", 64, 64), ("a.png",)),
    (lambda path: path, _of_source, ("model_index.json", "unet/config.json", "tokenizer/added_tokens.json")),
    (lambda path: path, _of_source, ("tokenizer/tokenizer_config.json", f"vae/{STEM}.safetensors")),
    (lambda path: path, _source_with_tokenizer_json, ("tokenizer/tokenizer.json",)),
    (lambda path: path, lambda path: Checkpoint(weight_files(path)), ("a.bin", "a.safetensors")),
    (lambda path: path, _source_in_shards, (f"unet/{STEM}.safetensors.index.json",)),
]
"""Makes a thing in a folder, opens it, and its files."""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(POINTER, r"is a pointer of Git LFS, .*[:;] run `git lfs pull` in the folder", id="pointer"),
        pytest.param(PAGE, r"is a web page, .*[:;] download the file itself", id="page"),
        pytest.param(b"", r"is empty, left by .*[:;] get it again", id="empty"),
    ],
)
@pytest.mark.parametrize(
    ("make", "read", "file"),
    [
        pytest.param(make, read, file, id=f"{number}-{file}")
        for number, (make, read, files) in enumerate(OPENED)
        for file in files
    ],
)
def test_every_file_of_others(
    make: Callable[[Path], Path], read: Callable[[Path], object], file: str, content: bytes, told: str, tmp_path: Path
) -> None:
    opened = make(tmp_path)
    path = opened / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(path.name)}:? (it )?{told}") as failure:
        read(opened)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(("content", "told"), [(POINTER, "is a pointer of Git LFS"), (PAGE, "is a web page")])
def test_a_recipe_and_prompts(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"a.yaml {told}"):
        read_text(path)
    with pytest.raises(UserError, match=f"prompts=.*a.yaml: it {told}"):
        read_request({"prompts": "a.yaml"}, tmp_path)
