"""What lies in the place of files of a model is told in the first stage, before anything large is fetched or read."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from sdbuild.errors import UserError
from sdbuild.sources import SourceError
from sdbuild.sources.client import HubClient
from sdbuild.sources.contents import check_weights
from sdbuild.sources.hub import HubSource
from sdbuild.sources.local import LocalSource
from tests.sources.hub_server import HubServer
from tests.sources.make_models import sd1, sharded, weights, write
from tests.sources.test_survey import look

NAME = "someone/small"
STEM = "diffusion_pytorch_model"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"
)
PAGE = b"<!DOCTYPE html>\n<html><body>Please sign in</body></html>"
UNET = f"unet/{STEM}.safetensors"


def told(changed: dict[str, bytes], folder: Path) -> str:
    with pytest.raises(UserError) as failure:
        look(sd1() | changed, folder)
    assert "\n" not in str(failure.value)
    return str(failure.value)


@pytest.mark.parametrize(
    "path",
    [
        "model_index.json",
        "unet/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        UNET,
        "text_encoder/model.safetensors",
    ],
)
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            POINTER,
            "is a pointer of Git LFS, not the file that it stands for: run `git lfs pull` in the folder it was cloned to",
        ),
        (PAGE, "is a web page, such as a login or an error, saved under this name: download the file itself"),
        (b"", "is empty, left by an interrupted download or copy: get it again"),
    ],
)
def test_something_else_in_the_place_of_a_file(path: str, content: bytes, what: str, tmp_path: Path) -> None:
    message = told({path: content}, tmp_path)
    assert message in (f"model: {path} {what}", f"model: {path}: {what}")


def test_something_else_in_the_place_of_an_index_and_of_a_shard(tmp_path: Path) -> None:
    files = sharded(sd1(), "unet", STEM)
    index, shard = f"unet/{STEM}.safetensors.index.json", f"unet/{STEM}-00002-of-00002.safetensors"
    for path in (index, shard):
        with pytest.raises(UserError, match=f"model: {path} is a pointer of Git LFS"):
            look(files | {path: POINTER}, tmp_path)


def of(**tensors: np.ndarray) -> bytes:
    content: bytes = save(tensors)
    return content


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (weights(2)[:-10], ": not a safetensors file, or damaged (its end is missing: "),
        (b"PK\x03\x04" + bytes(600), ": a pickle under the name of safetensors, and loading a pickle can run code"),
        (b"Entry not found", ' is text ("Entry not found"), such as a server\'s error: download the file itself'),
        (
            of(**{"a.weight": np.ones(2), "a.lora_A.weight": np.ones(2)}),
            ": a.lora_A.weight: LoRA or other adapter weights that were not merged, which a build would leave out; merge them",
        ),
        (
            of(**{"a.weight": np.ones(2, np.int8)}),
            ": a.weight is of type I8; weights are of F64, F32, F16, BF16, F8_E4M3, F8_E5M2",
        ),
    ],
)
def test_weights_of_a_folder_are_looked_into(content: bytes, what: str, tmp_path: Path) -> None:
    assert told({UNET: content}, tmp_path).startswith(f"model: {UNET}{what}")


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    files = sharded(sd1(), "unet", STEM)
    names = [f"unet/{STEM}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    with pytest.raises(UserError) as failure:
        look(files | {names[1]: files[names[0]]}, tmp_path)
    assert str(failure.value) == (
        f"model: {names[1]}: one.weight is in {names[0][5:]} as well: the files are not of one save; remove the older ones, or "
        "save the model into an empty folder"
    )


def test_weights_of_the_hub_are_looked_into_before_they_are_downloaded(hub: HubServer, client: HubClient) -> None:
    many = {f"block.{number}.weight": np.ones(1, np.float16) for number in range(6000)}  # a header of half a megabyte
    hub.add(
        NAME, {"good.safetensors": save(many), "bad.safetensors": save(many | {"block.7.lora_A.weight": np.ones(9)})}
    )
    source = HubSource(NAME, None, client)
    check_weights(source, [source.files["good.safetensors"]])
    with pytest.raises(
        UserError, match=r"someone/small: bad\.safetensors: block\.7\.lora_A\.weight: LoRA or other adapter"
    ):
        check_weights(source, [source.files["bad.safetensors"]])
    assert source.read_start("good.safetensors", 8) == save(many)[:8]
    assert len(hub.requests("good.safetensors")) == 2  # its first quarter of a megabyte, then as much as its header has


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    source = LocalSource(write(sd1(), tmp_path), "model")
    files = [source.files[UNET]]
    (tmp_path / UNET).unlink()
    with pytest.raises(SourceError, match=f"model: {UNET} can't be read: No such file or directory"):
        check_weights(source, files)


def test_a_short_file_of_the_hub_is_asked_for_once(hub: HubServer, client: HubClient) -> None:
    body = json.dumps({"a": 1}).encode()
    hub.add(NAME, {"weights.bin": body})
    source = HubSource(NAME, None, client)
    assert source.read_start("weights.bin", 1000) == body
    assert source.read_start("weights.bin", 4) == body[:4]
    assert sum(request.path.endswith("weights.bin") for request in hub.log) <= 2  # the hub, and where it redirects to
