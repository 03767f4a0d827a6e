"""Tensors by today's names from yesterday's files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sdbuild.errors import UserError
from sdbuild.modeling.checkpoint import Checkpoint, weight_files
from sdbuild.sources.leftovers import HARMLESS


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

    torch.save({"a": PurePosixPath("x")}, tmp_path / "m.bin")
    with pytest.raises(UserError) as failure:
        Checkpoint(weight_files(tmp_path))
    assert str(failure.value) == (
        f"{tmp_path / 'm.bin'}: cannot be loaded as plain weights: it needs pathlib.PurePosixPath, and to load that could run "
        "code hidden in the file; save the model's state_dict() alone, as safetensors"
    )


def test_an_environment_that_asks_torch_to_trust_pickles_is_not_heeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"a": PurePosixPath("x")}, tmp_path / "m.bin")
    with pytest.raises(UserError, match=r"it needs pathlib\.PurePosixPath"):
        Checkpoint(weight_files(tmp_path))


def test_pickles_of_before_torch_1_6(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "m.bin", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(Checkpoint(weight_files(tmp_path)).load("a"), [1, 1])


def test_a_file_is_what_it_is_whatever_it_is_called(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "m.bin")
    np.testing.assert_array_equal(Checkpoint(weight_files(tmp_path)).load("a"), [1, 1])
    torch.save({"a": torch.ones(2)}, tmp_path / "m.safetensors")
    with pytest.raises(
        UserError, match=r"m\.safetensors: a pickle under the name of safetensors, and loading a pickle can"
    ):
        Checkpoint([tmp_path / "m.safetensors"])


WEIGHTS = {"a": torch.ones(2)}


@pytest.mark.parametrize(
    "saved",
    [
        {"module": WEIGHTS},
        {"model": {"state_dict": WEIGHTS}, "step": 7},
        {"state_dict": WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "epoch": 3},
        {"params_ema": WEIGHTS},
        {"generator": WEIGHTS},
        WEIGHTS | {"model": {"b": torch.ones(1)}},
    ],
)
def test_nests_of_pickles(saved: dict[str, object], tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "m.bin")
    np.testing.assert_array_equal(Checkpoint(weight_files(tmp_path)).load("a"), [1, 1])


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"model": WEIGHTS, "model_ema": WEIGHTS}, "holds several sets of weights (model, model_ema); save the one"),
        ({"unet": WEIGHTS, "vae": WEIGHTS}, "holds several sets of weights (unet, vae); save the one that is meant"),
        ({"model": {"step": 1}}, "no weights in it: it holds no tensors by name"),
        ([torch.ones(2)], "no weights in it: it holds no tensors by name"),
    ],
)
def test_pickles_without_one_set_of_weights(saved: object, message: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "m.bin")
    with pytest.raises(UserError) as failure:
        Checkpoint(weight_files(tmp_path))
    assert message in str(failure.value)


def test_tensors_without_plain_content(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2).to_sparse(), "b": torch.ones(2, device="meta")}, tmp_path / "m.bin")
    checkpoint = Checkpoint(weight_files(tmp_path))
    for name, found in (("a", r"torch\.sparse_coo on cpu"), ("b", r"torch\.strided on meta")):
        with pytest.raises(UserError, match=rf"m\.bin: {name} is of type {found}; weights are of F64"):
            checkpoint.load(name)


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a pointer of Git LFS, .* run `git lfs pull`",
        ),
        (b"\n <!DOCTYPE html><html><body>Sign in</body></html>", "is a web page, such as a login or an error"),
        (b"", "is empty, left by an interrupted download or copy: get it again"),
        (b"\0" * 4096, "begins with nothing but zeros, left by an interrupted download: get it again"),
        (b"Entry not found", r'is text \("Entry not found"\), such as a server\'s error'),
    ],
)
def test_what_lies_in_the_place_of_weights(content: bytes, message: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} {message}"):
        Checkpoint([tmp_path / name])


def test_a_damaged_pickle(tmp_path: Path) -> None:
    for new in (True, False):
        torch.save({"a": torch.ones(500)}, tmp_path / "m.bin", _use_new_zipfile_serialization=new)
        whole = (tmp_path / "m.bin").read_bytes()
        (tmp_path / "m.bin").write_bytes(whole[:-400])
        with pytest.raises(UserError, match=r"m\.bin: cannot be loaded as plain weights: .*get it again"):
            Checkpoint([tmp_path / "m.bin"])


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "m-00001-of-00002.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "m-00002-of-00002.safetensors")
    with pytest.raises(
        UserError, match=r"m-00002-of-00002\.safetensors: a is in m-00001-of-00002\.safetensors as well"
    ):
        Checkpoint(weight_files(tmp_path))


MODEL = {"to_q.weight": (4, 4), "to_q.bias": (4,), "other.half.weight": (2, 2)}
"""A model's parameters; the last is of the half that is not built."""
NEEDED = {"to_q.weight", "to_q.bias"}
GOOD = {"to_q.weight": torch.ones(4, 4), "to_q.bias": torch.ones(4)}


def checked(tensors: dict[str, torch.Tensor], folder: Path) -> list[str]:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "m.safetensors")
    return Checkpoint(weight_files(folder)).check(MODEL, NEEDED)


def test_halves_matrices_as_kernels_and_what_is_harmless_pass_the_check(tmp_path: Path) -> None:
    assert checked(GOOD, tmp_path) == []
    assert (
        checked(GOOD | {"other.half.weight": torch.ones(2, 2), "to_q.weight": torch.ones(4, 4, 1, 1)}, tmp_path) == []
    )
    harmless = ("text_model.embeddings.position_ids", "norm.num_batches_tracked", "num_updates", "logit_scale")
    more = {name: torch.arange(3) for name in (*harmless, "text_projection.weight", "vision_model.layers.0.weight")}
    assert checked(GOOD | more | {"v_pred": torch.zeros(0), "model.ztsnr": torch.zeros(0)}, tmp_path) == []
    assert len(HARMLESS) == len(more)  # each of its lines was tried: two marks share one, the image half has its own


def test_an_unknown_mark_is_told(tmp_path: Path) -> None:
    assert checked(GOOD | {"is_flow": torch.zeros(0)}, tmp_path) == ["is_flow"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("down.to_q.lora_A.weight", "LoRA or other adapter weights that were not merged.* merge them"),
        ("lora_unet_down_to_q.lora_down.weight", "LoRA or other adapter weights"),
        ("to_k_ip.weight", "weights of an IP-Adapter"),
        ("blocks.0.fuser.linear.weight", "layers of GLIGEN"),
        ("position_net.linears.0.weight", "layers of GLIGEN"),
        ("down_blocks.0.motion_modules.0.proj_in.weight", "motion modules of a video model"),
        ("attn1.norm_q.weight", r"norms of queries and keys \(qk_norm\)"),
        ("controlnet_cond_embedding.conv_in.weight", "layers of a ControlNet"),
        ("to_q.scale_weight", "scales of quantized weights.* float16 or bfloat16"),
        ("to_q.weight_scale", "scales of quantized weights"),
        ("scaled_fp8", "scales of quantized weights"),
        ("to_q.weight.absmax", "scales of quantized weights"),
        ("to_q.weight.quant_state.bitsandbytes__nf4", "scales of quantized weights"),
        ("model.diffusion_model.out.2.bias", "weights under the names of single-file checkpoints"),
        ("model_ema.to_qweight", "a second set of weights"),
        ("edm_vpred.sigma_max", "marks of sampling as EDM has it"),
        ("loss.discriminator.main.0.bias", "what only training needs"),
        ("layers.9.weight", "config.json knows of no such tensor.*not of the same model"),
    ],
)
@pytest.mark.parametrize("size", [0, 1])
def test_what_a_build_would_leave_out(name: str, message: str, size: int, tmp_path: Path) -> None:
    if size or "config.json" not in message:
        with pytest.raises(UserError, match=rf"weights: m\.safetensors: {name}: {message}"):
            checked(GOOD | {name: torch.ones(size)}, tmp_path)


def test_many_names_are_not_all_told(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"x\.00, x\.01, x\.02, x\.03 and 26 more: config\.json knows of no such tensors"
    ):
        checked(GOOD | {f"x.{number:02}": torch.ones(1) for number in range(30)}, tmp_path)


@pytest.mark.parametrize(
    ("there", "advice"),
    [
        ("_orig_mod.to_q.weight", "torch.compile had wrapped the model: save its `_orig_mod`"),
        (
            "base_model.model.to_q.base_layer.weight",
            "PEFT had wrapped the model: save what `merge_and_unload()` returns",
        ),
        ("to_q.base_layer.weight", "PEFT had wrapped the model: save what `merge_and_unload()` returns"),
        ("module.to_q.weight", "DataParallel had wrapped the model: save its `module`"),
        ("module._orig_mod.to_q.weight", "torch.compile had wrapped the model: save its `_orig_mod`"),
    ],
)
def test_a_name_that_a_wrapper_changed(there: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        checked({"to_q.bias": torch.ones(4), there: torch.ones(4, 4)}, tmp_path)
    assert str(failure.value) == f"weights: to_q.weight is not in m.safetensors; it is there as {there}, for {advice}"


def test_other_shapes_and_types_are_told_by_the_check(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"to_q\.bias has shape \[5\], the model's configuration says \[4\]"):
        checked(GOOD | {"to_q.bias": torch.ones(5)}, tmp_path)
    with pytest.raises(UserError, match=r"m\.safetensors: to_q\.bias is of type U8; weights are of F64, F32"):
        checked(GOOD | {"to_q.bias": torch.ones(4, dtype=torch.uint8)}, tmp_path)


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
