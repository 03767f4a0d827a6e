"""Local folders and built-in models as sources."""

from pathlib import Path

import pytest

import sdbuild
from sdbuild.sources import SourceError, SourceFile, open_source
from sdbuild.sources.builtin import BuiltinSource
from sdbuild.sources.local import LocalSource
from tests.sources.hub_server import sha256
from tests.sources.make_models import sd1, write

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def refusal(source: LocalSource) -> str:
    with pytest.raises(SourceError) as failure:
        source.read("model_index.json")
    return str(failure.value)


def test_a_folder_is_linked_to_and_not_copied(tmp_path: Path, output: Path, scratch: Path) -> None:
    files = sd1()
    source = open_source({"kind": "local", "id": "../model", "path": str(write(files, tmp_path / "model"))})
    assert (source.name, source.commit) == ("../model", None)
    assert source.files[WEIGHTS] == SourceFile(WEIGHTS, len(files[WEIGHTS]))
    done: list[int] = []
    source.fetch(source.files[WEIGHTS], output, scratch, done.append)
    link = output / "diffusion_pytorch_model.safetensors"
    assert link.readlink() == tmp_path / "model" / WEIGHTS
    assert link.read_bytes() == files[WEIGHTS]
    assert done == [len(files[WEIGHTS])]


def test_a_folder_of_links_is_linked_to_at_its_end(tmp_path: Path, output: Path, scratch: Path) -> None:
    (tmp_path / "blob").write_bytes(b"weights")  # as the hub's own cache has them
    (tmp_path / "model" / "unet").mkdir(parents=True)
    (tmp_path / "model" / WEIGHTS).symlink_to("../../blob")
    source = LocalSource(tmp_path / "model", "model")
    source.fetch(source.files[WEIGHTS], output, scratch, lambda done: None)
    assert (output / "diffusion_pytorch_model.safetensors").readlink() == tmp_path / "blob"


def test_what_is_not_of_a_pipeline_is_not_listed(tmp_path: Path) -> None:
    write(sd1() | {"unet/deeper/still/config.json": b"", "sample.png": b"", ".git/config": b""}, tmp_path)
    assert sorted(LocalSource(tmp_path, "model").files) == sorted(sd1())


@pytest.mark.parametrize("change", ["gone", "grown"])
def test_a_file_that_changed_since_it_was_listed(tmp_path: Path, output: Path, scratch: Path, change: str) -> None:
    source = LocalSource(write(sd1(), tmp_path / "model"), "model")
    file = source.files[WEIGHTS]
    if change == "gone":
        (tmp_path / "model" / WEIGHTS).unlink()
        message = f"model: {WEIGHTS} is gone; put it back, or name another source"
    else:
        (tmp_path / "model" / WEIGHTS).write_bytes(b"x" * (file.size + 1))
        message = f"model: {WEIGHTS} has changed while it was being built from; build again"
    with pytest.raises(SourceError) as failure:
        source.fetch(file, output, scratch, lambda done: None)
    assert str(failure.value) == message
    assert list(output.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    assert refusal(LocalSource(tmp_path / "my-modle", "./my-modle")) == (
        f"./my-modle: no such folder; did you mean {tmp_path / 'my-model'}?"
    )
    nowhere = tmp_path / "nothing" / "at-all"
    assert refusal(LocalSource(nowhere, "m")) == f"m: no such folder; {nowhere} is where it was looked for"


def test_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "v1-5.safetensors").touch()
    assert refusal(LocalSource(tmp_path / "v1-5.safetensors", "v1-5.safetensors")) == (
        "v1-5.safetensors: a single file where a folder was; build again, and it is read as one"
    )
    (tmp_path / "notes.txt").touch()
    assert refusal(LocalSource(tmp_path / "notes.txt", "notes.txt")) == (
        "notes.txt: a file; name the diffusers folder that holds model_index.json"
    )


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    assert refusal(LocalSource(tmp_path, "pictures")) == (
        "pictures: there is no model_index.json; a diffusers folder has one: save or download it whole"
    )


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    source = LocalSource(write(sd1(), tmp_path), "model")
    assert source.files
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").mkdir()  # which root can't read either
    assert refusal(source) == "model: model_index.json can't be read: Is a directory"


def test_a_built_in_model_lies_in_the_package() -> None:
    source = open_source({"kind": "builtin", "id": "shapes"})
    assert (source.name, source.commit) == ("builtin:shapes", None)
    model = Path(sdbuild.__file__).parent / "shapes" / "model"
    assert source.read("model_index.json") == (model / "model_index.json").read_bytes()


def test_a_built_in_model_is_copied_and_known_by_content(tmp_path: Path, output: Path, scratch: Path) -> None:
    files = sd1()
    source = BuiltinSource(write(files, tmp_path / "model"), "builtin:small")
    file = source.files[WEIGHTS]
    assert file.sha256 == sha256(files[WEIGHTS])
    source.fetch(file, output, scratch, lambda done: None)
    copy = output / "diffusion_pytorch_model.safetensors"
    assert not copy.is_symlink()
    assert copy.read_bytes() == files[WEIGHTS]

    (tmp_path / "model" / WEIGHTS).write_bytes(b"another version of sdbuild")
    with pytest.raises(SourceError, match="has changed while it was being built from; build again"):
        source.fetch(file, output, scratch, lambda done: None)


def test_a_configuration_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    write(sd1(), tmp_path)
    with (tmp_path / "unet" / "config.json").open("r+b") as file:
        file.truncate(5 << 30)
    with pytest.raises(SourceError) as failure:
        LocalSource(tmp_path, "model").read("unet/config.json")
    assert str(failure.value) == "model: unet/config.json has 5,368,709,120 bytes, too many for what it should be"
