"""Which weight files are chosen of those that repositories really hold."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel

from sdbuild.sources import SourceError
from sdbuild.sources.local import LocalSource
from sdbuild.sources.weights import choose_weights, variants
from tests.architectures import TEXT, VAE, make
from tests.sources.make_models import as_json, sd1, sharded, write

STEM = "diffusion_pytorch_model"


def chosen(
    folder: Path, names: list[str], allow_pickle: bool = False, text_encoder: bool = False, variant: str | None = None
) -> list[str]:
    """The names chosen of files in a folder ``part``."""
    write({f"part/{name}": b"" for name in names}, folder)
    files = choose_weights(LocalSource(folder, "model"), "part", text_encoder, allow_pickle, variant)
    return [file.name for file in files]


def refused(folder: Path, files: dict[str, bytes], text_encoder: bool = False, variant: str | None = None) -> str:
    """What is said of a folder ``part`` with these files."""
    source = LocalSource(write({f"part/{name}": body for name, body in files.items()}, folder), "model")
    with pytest.raises(SourceError) as failure:
        choose_weights(source, "part", text_encoder, False, variant)
    return str(failure.value)


def index(*shards: str) -> bytes:
    return as_json({"weight_map": {f"w{number}": shard for number, shard in enumerate(shards)}})


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
    files = choose_weights(LocalSource(tmp_path, "model"), folder, folder != "unet", False)
    assert [file.path for file in files] == [f"{folder}/{stem}{variant}-0000{n}-of-00002.safetensors" for n in (1, 2)]


def test_shards_in_half_precision_come_before_a_whole_file(tmp_path: Path) -> None:
    write(sd1() | sharded(sd1(), "unet", STEM, ".fp16"), tmp_path)
    files = choose_weights(LocalSource(tmp_path, "model"), "unet", False, False)
    assert [file.name for file in files] == [f"{STEM}.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]


def test_shards_as_diffusers_once_named_them(tmp_path: Path) -> None:
    names = [f"{STEM}-0000{number}-of-00002.fp16.safetensors" for number in (1, 2)]
    index = as_json({"weight_map": {"b": names[1], "a": names[0], "c": names[1]}})
    write({f"unet/{STEM}.safetensors.fp16.index.json": index} | {f"unet/{name}": b"" for name in names}, tmp_path)
    files = choose_weights(LocalSource(tmp_path, "model"), "unet", False, False)
    assert [file.name for file in files] == names


def test_a_missing_shard(tmp_path: Path) -> None:
    files = sharded(sd1(), "unet", STEM)
    del files[f"unet/{STEM}-00002-of-00002.safetensors"]
    with pytest.raises(SourceError) as failure:
        choose_weights(LocalSource(write(files, tmp_path), "model"), "unet", False, False)
    assert str(failure.value) == (
        f"model: unet/{STEM}.safetensors.index.json names 2 files, and unet/{STEM}-00002-of-00002.safetensors is missing; "
        "complete the upload or download, or name another source"
    )


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": {"a": 3}}, {"weight_map": {"a": "../up"}}])
def test_an_index_that_is_none(tmp_path: Path, index: object) -> None:
    write({f"unet/{STEM}.safetensors.index.json": as_json(index)}, tmp_path)
    with pytest.raises(SourceError, match=r"index\.json lists no weight files; the file is damaged"):
        choose_weights(LocalSource(tmp_path, "model"), "unet", False, False)


MANY = [
    f"{STEM}.{name}"
    for name in ("bf16.safetensors", "fp16.safetensors", "non_ema.safetensors", "safetensors", "fp32.bin")
]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (None, f"{STEM}.fp16.safetensors"),
        ("fp16", f"{STEM}.fp16.safetensors"),
        ("bf16", f"{STEM}.bf16.safetensors"),
        ("non_ema", f"{STEM}.non_ema.safetensors"),
        ("plain", f"{STEM}.safetensors"),
        ("fp32", f"{STEM}.fp32.bin"),
        ("ema-only", f"{STEM}.fp16.safetensors"),  # of this model there is none: what would be taken anyway
    ],
)
def test_a_variant_by_name(tmp_path: Path, variant: str | None, expected: str) -> None:
    assert chosen(tmp_path, MANY, allow_pickle=True, variant=variant) == [expected]


def test_variants_that_are_there(tmp_path: Path) -> None:
    shards = {f"{STEM}.ema-0000{n}-of-00002.safetensors": b"" for n in (1, 2)}
    names = {
        f"{STEM}.safetensors.index.ema.json": index(*shards),
        f"{STEM}.safetensors.v2.index.json": b"",
        "lora.fp8.bin": b"",
    }
    write({f"part/{name}": body for name, body in (dict.fromkeys(MANY, b"") | shards | names).items()}, tmp_path)
    source = LocalSource(tmp_path, "model")
    assert variants(source, "part", False) == {"bf16", "ema", "fp16", "fp32", "non_ema", "plain", "v2"}
    assert [file.name for file in choose_weights(source, "part", False, False, "ema")] == sorted(shards)
    assert variants(source, "part", True) == set()


def test_a_variant_in_a_pickle_needs_leave_and_is_not_replaced(tmp_path: Path) -> None:
    files = dict.fromkeys([f"{STEM}.safetensors", f"{STEM}.non_ema.bin"], b"")
    assert f"comes as a pickle only (part/{STEM}.non_ema.bin)" in refused(tmp_path, files, variant="non_ema")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["model.bf16.safetensors"], "variant bf16; write `variant: bf16`"),
        (["model.non_ema.safetensors", "model.ema.safetensors"], "variants ema, non_ema; write `variant: ema`"),
        (
            ["model.bf16-00001-of-00001.safetensors", "model.safetensors.index.bf16.json"],
            "variant bf16; write `variant: bf16`",
        ),
    ],
)
def test_only_variants_that_are_not_taken_unasked(tmp_path: Path, names: list[str], told: str) -> None:
    assert refused(tmp_path, dict.fromkeys(names, b""), text_encoder=True) == (
        f"model: there are no weights in part without a variant in their name, but of the {told} under `model:` in the recipe"
    )


def test_shards_without_an_index(tmp_path: Path) -> None:
    assert refused(tmp_path, {f"{STEM}-0000{n}-of-00002.safetensors": b"" for n in (1, 2)}) == (
        f"model: there are no weights in part that can be put together: there are shards, and no {STEM}.safetensors.index.json "
        "that says which belong together; complete the upload or download"
    )


def test_shards_in_another_folder(tmp_path: Path) -> None:
    names = ["a/x.safetensors", "b/x.safetensors"]
    files = {f"{STEM}.safetensors.index.json": index(*names)} | dict.fromkeys(names, b"")
    assert refused(tmp_path, files) == (
        f"model: part/{STEM}.safetensors.index.json names a/x.safetensors, in another folder than its own; put the shards "
        "beside the index, and their names alone into it"
    )


@pytest.mark.parametrize("there", [[1, 2], [2]])
def test_a_whole_file_beside_shards(tmp_path: Path, there: list[int]) -> None:
    shards = [f"{STEM}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    files = {f"{STEM}.safetensors": b"", f"{STEM}.safetensors.index.json": index(*shards)}
    assert refused(tmp_path, files | {shards[number - 1]: b"" for number in there}) == (
        f"model: part/{STEM}.safetensors lies beside the shards of {STEM}.safetensors.index.json, as when a model is saved a "
        "second time in another number of files; diffusers loads the shards then, transformers the whole file, whichever is "
        "older. Remove the older one, in a copy if the model is another's"
    )


def filled(value: float, model: torch.nn.Module) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def test_what_the_libraries_leave_in_a_folder_and_load_from_it(tmp_path: Path) -> None:
    """The reason to refuse both: each library takes another, and neither looks at which is older."""
    for folder, kind, loaded in (("unet", AutoencoderKL, 5), ("text_encoder", CLIPTextModel, 1)):
        encoder = kind is CLIPTextModel
        model = make("clip_text", TEXT) if encoder else make("vae_decoder", VAE)
        for value, size in ((1, "10GB"), (5, "60KB")):
            filled(value, model).save_pretrained(tmp_path / folder, max_shard_size=size)
        assert next(kind.from_pretrained(tmp_path / folder).parameters()).flatten()[0] == loaded
        with pytest.raises(SourceError, match="lies beside the shards of"):
            choose_weights(LocalSource(tmp_path, "model"), folder, encoder, False)
    # The other way round the shards are removed and their index is not: one file is all there is.
    for value, size in ((1, "60KB"), (5, "10GB")):
        filled(value, model).save_pretrained(tmp_path / "again", max_shard_size=size)
    assert (tmp_path / "again" / "model.safetensors.index.json").exists()
    assert next(CLIPTextModel.from_pretrained(tmp_path / "again").parameters()).flatten()[0] == 5
    again = choose_weights(LocalSource(tmp_path, "model"), "again", True, False)
    assert [file.name for file in again] == ["model.safetensors"]


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
