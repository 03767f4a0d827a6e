"""Which weight files are chosen of those that repositories really hold."""

from pathlib import Path

import pytest

from sdbuild.sources import SourceError
from sdbuild.sources.folder import FolderSource
from sdbuild.sources.weights import choose_weights
from tests.sources.make_models import as_json, sd1, sharded, write

STEM = "diffusion_pytorch_model"


def chosen(folder: Path, names: list[str], allow_pickle: bool = False, text_encoder: bool = False) -> list[str]:
    """The names chosen of files in a folder ``part``."""
    write({f"part/{name}": b"" for name in names}, folder)
    files = choose_weights(FolderSource(folder, "model"), "part", text_encoder, allow_pickle)
    return [file.name for file in files]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["config.json", f"{STEM}.safetensors"], f"{STEM}.safetensors"),
        ([f"{STEM}.safetensors", f"{STEM}.fp16.safetensors"], f"{STEM}.fp16.safetensors"),
        ([f"{STEM}.non_ema.safetensors", f"{STEM}.safetensors"], f"{STEM}.safetensors"),
        ([f"{STEM}.fp16.bin", f"{STEM}.bin", f"{STEM}.safetensors"], f"{STEM}.safetensors"),
        ([f"{STEM}.safetensors", "model.onnx", "openvino_model.bin", "lora.safetensors"], f"{STEM}.safetensors"),
    ],
)
def test_a_diffusers_model(tmp_path: Path, names: list[str], expected: str) -> None:
    assert chosen(tmp_path, names) == [expected]


def test_a_text_encoder(tmp_path: Path) -> None:
    names = ["config.json", "flax_model.msgpack", "pytorch_model.bin", "model.safetensors", "model.fp16.safetensors"]
    assert chosen(tmp_path, names, text_encoder=True) == ["model.fp16.safetensors"]


@pytest.mark.parametrize("variant", ["", ".fp16"])
@pytest.mark.parametrize(("folder", "stem"), [("unet", STEM), ("text_encoder", "model")])
def test_shards(tmp_path: Path, folder: str, stem: str, variant: str) -> None:
    write(sharded(sd1(), folder, stem, variant), tmp_path)
    files = choose_weights(FolderSource(tmp_path, "model"), folder, folder != "unet", False)
    assert [file.path for file in files] == [f"{folder}/{stem}{variant}-0000{n}-of-00002.safetensors" for n in (1, 2)]


def test_shards_in_half_precision_come_before_a_whole_file(tmp_path: Path) -> None:
    write(sd1() | sharded(sd1(), "unet", STEM, ".fp16"), tmp_path)
    files = choose_weights(FolderSource(tmp_path, "model"), "unet", False, False)
    assert [file.name for file in files] == [f"{STEM}.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]


def test_shards_as_diffusers_once_named_them(tmp_path: Path) -> None:
    names = [f"{STEM}-0000{number}-of-00002.fp16.safetensors" for number in (1, 2)]
    index = as_json({"weight_map": {"b": names[1], "a": names[0], "c": names[1]}})
    write({f"unet/{STEM}.safetensors.fp16.index.json": index} | {f"unet/{name}": b"" for name in names}, tmp_path)
    files = choose_weights(FolderSource(tmp_path, "model"), "unet", False, False)
    assert [file.name for file in files] == names


def test_a_missing_shard(tmp_path: Path) -> None:
    files = sharded(sd1(), "unet", STEM)
    del files[f"unet/{STEM}-00002-of-00002.safetensors"]
    with pytest.raises(SourceError) as failure:
        choose_weights(FolderSource(write(files, tmp_path), "model"), "unet", False, False)
    assert str(failure.value) == (
        f"model: unet/{STEM}.safetensors.index.json names 2 files, and unet/{STEM}-00002-of-00002.safetensors is missing; "
        "complete the upload or download, or name another source"
    )


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": {"a": 3}}, {"weight_map": {"a": "../up"}}])
def test_an_index_that_is_none(tmp_path: Path, index: object) -> None:
    write({f"unet/{STEM}.safetensors.index.json": as_json(index)}, tmp_path)
    with pytest.raises(SourceError, match=r"index\.json lists no weight files; the file is damaged"):
        choose_weights(FolderSource(tmp_path, "model"), "unet", False, False)


def test_pickles_need_leave(tmp_path: Path) -> None:
    names = ["config.json", f"{STEM}.bin"]
    with pytest.raises(SourceError) as failure:
        chosen(tmp_path, names)
    assert str(failure.value) == (
        f"model: part comes as a pickle only (part/{STEM}.bin), and loading a pickle can run code that its author hid in it; "
        "name a source with safetensors or, if you trust this one, write `allow_pickle: true` under `model:` in the recipe"
    )
    assert chosen(tmp_path, names, allow_pickle=True) == [f"{STEM}.bin"]
    assert chosen(tmp_path, ["pytorch_model.bin"], allow_pickle=True, text_encoder=True) == ["pytorch_model.bin"]


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as failure:
        chosen(tmp_path, ["config.json", "model.safetensors"])
    assert str(failure.value) == (
        f"model: there are no weights in part: {STEM}.safetensors is looked for, it holds part/config.json, "
        "part/model.safetensors; name a diffusers pipeline"
    )
