"""Tensors by today's names from yesterday's files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sdbuild.errors import UserError
from sdbuild.modeling.checkpoint import Checkpoint, weight_files


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3)}, tmp_path / "m-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(4, dtype=torch.float16)}, tmp_path / "m-00002-of-00002.safetensors")
    (tmp_path / "config.json").write_text("{}")
    checkpoint = Checkpoint(weight_files(tmp_path))
    assert checkpoint.names() == ["a", "b"]
    np.testing.assert_array_equal(checkpoint.load("a"), np.ones((2, 3), np.float32))
    assert checkpoint.load("b").dtype == np.float16


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("decoder.mid_block.attentions.0.query.weight", "decoder.mid_block.attentions.0.to_q.weight"),
        ("encoder.mid_block.attentions.0.proj_attn.bias", "encoder.mid_block.attentions.0.to_out.0.bias"),
        ("embeddings.token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        ("text_model.final_layer_norm.bias", "final_layer_norm.bias"),
        ("vision_model.vision_model.pre_layrnorm.bias", "vision_model.pre_layrnorm.bias"),
        ("vision_model.pre_layrnorm.bias", "vision_model.vision_model.pre_layrnorm.bias"),
    ],
)
def test_old_names_are_found(old: str, new: str, tmp_path: Path) -> None:
    save_file({old: torch.arange(3.0)}, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(Checkpoint(weight_files(tmp_path)).load(new), [0, 1, 2])


def test_bfloat16_comes_as_float32(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1.5, 3e38], dtype=torch.bfloat16)}, tmp_path / "m.safetensors")
    loaded = Checkpoint(weight_files(tmp_path)).load("a")
    assert loaded.dtype == np.float32
    assert loaded[0] == 1.5
    assert np.isfinite(loaded).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_type_of_weight_is_read(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).to(dtype), "one": torch.tensor(2.0).to(dtype)}
    save_file(tensors, tmp_path / "m.safetensors")
    checkpoint = Checkpoint(weight_files(tmp_path))
    np.testing.assert_array_equal(checkpoint.load("a"), np.arange(6.0).reshape(2, 3))
    assert checkpoint.load("one") == 2
    assert checkpoint.load("a").dtype == (np.float16 if dtype == torch.float16 else np.float32)


def test_numbers_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    save_file({"ids": torch.arange(3)}, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"m\.safetensors: ids is of type I64; weights are of F64, F32"):
        Checkpoint(weight_files(tmp_path)).load("ids")


_READ_ALL = """
import sys
from pathlib import Path
from sdbuild.modeling.checkpoint import Checkpoint
checkpoint = Checkpoint([Path(sys.argv[1])])
print(sum(checkpoint.load(name).nbytes for name in checkpoint.names()))
"""


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit")
def test_a_file_larger_than_the_memory_that_is_allowed(tmp_path: Path) -> None:
    count, size = 32, 64 << 20
    header = {
        str(number): {"dtype": "F16", "shape": [size // 2], "data_offsets": [number * size, (number + 1) * size]}
        for number in range(count)
    }
    text = json.dumps(header).encode().ljust(4096)
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + count * size)  # zeros that take no disk
    command = ["prlimit", f"--data={1 << 30}", sys.executable, "-c", _READ_ALL, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stdout.strip()) == (0, str(count * size)), done.stderr[-500:]


def test_pickled_weights_load_as_weights_only(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "m.bin")
    np.testing.assert_array_equal(Checkpoint(weight_files(tmp_path)).load("a"), [1, 1])

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("executed",)

    torch.save({"a": Evil()}, tmp_path / "m.bin")
    with pytest.raises(UserError, match=r"m\.bin: cannot be loaded as plain weights"):
        Checkpoint(weight_files(tmp_path))


def test_pickled_parameters_are_weights_and_what_lies_beside_them_is_not(tmp_path: Path) -> None:
    odd = {"step": 7, "ids": torch.arange(3), "phase": torch.ones(2, dtype=torch.complex64)}
    torch.save({"a": torch.nn.Parameter(torch.ones(3, 2).t())} | odd, tmp_path / "m.bin")
    checkpoint = Checkpoint(weight_files(tmp_path))
    np.testing.assert_array_equal(checkpoint.load("a"), np.ones((2, 3)))
    for name, found in (("step", "int"), ("ids", r"torch\.int64"), ("phase", r"torch\.complex64")):
        with pytest.raises(UserError, match=rf"m\.bin: {name} is of type {found}; weights are of F64"):
            checkpoint.load(name)


def test_a_missing_tensor_is_named_with_the_nearest(tmp_path: Path) -> None:
    save_file({"conv_in.weight": torch.ones(1)}, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"conv_in\.bias is not in m\.safetensors; the nearest is conv_in\.weight"):
        Checkpoint(weight_files(tmp_path)).load("conv_in.bias")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.ones(100)}, tmp_path / "m.safetensors")
    whole = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(whole[:-10])
    with pytest.raises(UserError, match=r"m\.safetensors: not a safetensors file, or damaged"):
        Checkpoint(weight_files(tmp_path))
