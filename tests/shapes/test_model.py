"""The shipped model folder: complete, small, loadable, and as good as its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors

from sdbuild.shapes.scenes import held_out_scenes, training_scenes
from sdbuild.shapes.score import tally
from sdbuild.shapes.tokenizer import caption_words, load_tokenizer

MODEL = Path(__file__).parents[2] / "sdbuild" / "shapes" / "model"


def test_the_folder_is_small_and_complete() -> None:
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    names = {path.relative_to(MODEL).as_posix() for path in files}
    assert {"vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"} == {
        path.name for path in (MODEL / "tokenizer").iterdir()
    }
    assert "unet/diffusion_pytorch_model.safetensors" in names
    assert "vae/diffusion_pytorch_model.safetensors" in names
    assert "text_encoder/model.safetensors" in names
    index = json.loads((MODEL / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["safety_checker"] == [None, None]


def test_every_weight_is_a_finite_half() -> None:
    torch = pytest.importorskip("torch")
    for path in MODEL.rglob("*.safetensors"):
        with safetensors.safe_open(path, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118 (safe_open is no dict)
                tensor = weights.get_tensor(key)
                assert tensor.dtype == torch.float16, (path.name, key)
                assert torch.isfinite(tensor).all(), (path.name, key)


def test_the_configuration_is_what_swift_assumes() -> None:
    # Apple's Swift package has these numbers built in, so a model cannot choose others.
    assert json.loads((MODEL / "vae/config.json").read_text())["scaling_factor"] == 0.18215
    scheduler = json.loads((MODEL / "scheduler/scheduler_config.json").read_text())
    wanted = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "steps_offset": 1,
    }
    assert {key: scheduler[key] for key in wanted} == wanted


def test_tokenizer_files_are_in_the_format_apple_parses() -> None:
    merges = (MODEL / "tokenizer/merges.txt").read_bytes()
    assert b"\r" not in merges
    assert merges.startswith(b"#version: 0.2\n") and merges.endswith(b"\n")
    assert all(len(line.split(b" ")) == 2 for line in merges.splitlines())
    vocab = json.loads((MODEL / "tokenizer/vocab.json").read_text(encoding="utf-8"))
    assert sorted(vocab.values()) == list(range(len(vocab)))
    assert {"!", "!</w>", "<|startoftext|>", "<|endoftext|>"} <= set(vocab)
    for line in merges.decode().splitlines()[1:]:
        assert line.replace(" ", "") in vocab


def test_every_caption_word_is_one_token_and_any_text_is_tokenisable() -> None:
    tokenizer = load_tokenizer(MODEL / "tokenizer")
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    for word in caption_words():
        assert tokenizer(word).input_ids[::2] == [start, end], word
    assert tokenizer.model_max_length == 77
    assert tokenizer.pad_token_id == end
    strange = "Hällo, 日本 🙂 ~`|"
    ids = tokenizer(strange).input_ids
    assert end not in ids[1:-1], "nothing is unknown"
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == (strange.lower().replace(" ", ""))


def test_diffusers_loads_the_folder() -> None:
    pytest.importorskip("diffusers")
    from sdbuild.shapes.evaluate import load_pipeline

    pipeline = load_pipeline(MODEL)
    assert pipeline.text_encoder.config.eos_token_id == pipeline.tokenizer.eos_token_id
    assert pipeline.text_encoder.config.hidden_size == pipeline.unet.config.cross_attention_dim
    assert pipeline.vae_scale_factor == 8


@pytest.mark.slow
def test_held_out_captions_come_out_right() -> None:
    pytest.importorskip("diffusers")
    from sdbuild.shapes.evaluate import generate, load_pipeline

    scenes = list(held_out_scenes())
    images = generate(load_pipeline(MODEL), [s.caption() for s in scenes], seed=1)
    result = tally(images, scenes)
    assert result["all"] >= 0.90, result


@pytest.mark.slow
def test_other_phrasings_come_out_right_too() -> None:
    pytest.importorskip("diffusers")
    from sdbuild.shapes.evaluate import generate, load_pipeline

    scenes = list(training_scenes()[::12])
    template = "{size} {colour} {shape} on {background}"
    images = generate(load_pipeline(MODEL), [s.caption(template) for s in scenes], seed=2)
    assert tally(images, scenes)["all"] >= 0.85
