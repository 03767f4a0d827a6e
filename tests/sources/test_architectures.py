"""What configurations may say: real ones pass, what would be left out or never end is refused by name."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPVisionConfig

from sdbuild.errors import UserError
from sdbuild.modeling.library import safety_checker, text_encoder
from sdbuild.sources import SourceError
from sdbuild.sources.architectures import ARCHITECTURES, TextEncoder, UNet, Vae, Vision, known_part
from sdbuild.verify import originals
from tests.architectures import CHECKER, CONFIGS, TEXT, UNET, VAE, Shape, build, original

OF_2022: dict[str, Any] = {
    "_name_or_path": "", "add_cross_attention": False, "architectures": None, "bad_words_ids": None,
    "begin_suppress_tokens": None, "bos_token_id": 0, "chunk_size_feed_forward": 0, "cross_attention_hidden_size": None,
    "decoder_start_token_id": None, "diversity_penalty": 0.0, "do_sample": False, "dropout": 0.0, "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0, "eos_token_id": 2, "exponential_decay_length_penalty": None, "finetuning_task": None,
    "forced_bos_token_id": None, "forced_eos_token_id": None, "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": False, "is_encoder_decoder": False, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "length_penalty": 1.0,
    "max_length": 20, "min_length": 0, "model_type": "clip_text_model", "no_repeat_ngram_size": 0, "num_beam_groups": 1,
    "num_beams": 1, "num_return_sequences": 1, "output_attentions": False, "output_hidden_states": False,
    "output_scores": False, "pad_token_id": 1, "prefix": None, "problem_type": None, "pruned_heads": {},
    "remove_invalid_values": False, "repetition_penalty": 1.0, "return_dict": True, "return_dict_in_generate": False,
    "sep_token_id": None, "suppress_tokens": None, "task_specific_params": None, "temperature": 1.0, "tf_legacy_loss": False,
    "tie_encoder_decoder": False, "tie_word_embeddings": True, "tokenizer_class": None, "top_k": 50, "top_p": 1.0,
    "torch_dtype": None, "torchscript": False, "transformers_version": "4.22.0.dev0", "typical_p": 1.0,
    "use_bfloat16": False,
}  # fmt: skip
"""What transformers wrote into each configuration, and into each part of one, when Stable Diffusion 1 came out."""

EMA = {"decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 1, "power": 0.75}


@pytest.mark.parametrize(
    ("model_class", "config", "kept"),
    [
        ("CLIPTextModel", OF_2022 | TEXT, {*TEXT}),
        ("UNet2DConditionModel", UNET | EMA | {"_diffusers_version": "0.6.0", "upcast_attention": None}, None),
        ("AutoencoderKL", VAE | {"force_upcast": True, "_class_name": "AutoencoderKL", "of_tomorrow": None}, None),
        (
            "StableDiffusionSafetyChecker",
            CHECKER
            | {"text_config": OF_2022 | {"hidden_size": 768}, "text_config_dict": {"hidden_size": 768}}
            | {"logit_scale_init_value": 2.6592, "model_type": "clip", "vision_config_dict": {"hidden_size": 64}}
            | {"vision_config": OF_2022 | CHECKER["vision_config"]},
            None,
        ),
    ],
)
def test_real_configurations_pass_and_only_the_models_own_keys_are_kept(
    model_class: str, config: dict[str, Any], kept: set[str] | None
) -> None:
    known = known_part(model_class, config, "x")
    assert all(known[key] == config[key] for key in known if key != "vision_config")
    if kept is not None:
        assert known.keys() == kept
    if model_class == "StableDiffusionSafetyChecker":
        assert known["vision_config"] == CHECKER["vision_config"]
        assert "text_config" not in known


def test_the_keys_are_those_of_the_libraries() -> None:
    for ours, theirs in ((UNet, UNet2DConditionModel), (Vae, AutoencoderKL)):
        assert set(ours.model_fields) == set(inspect.signature(theirs.__init__).parameters) - {"self"}
    for part, config in ((TextEncoder, CLIPTextConfig), (Vision, CLIPVisionConfig)):
        assert set(part.model_fields) <= set(config().to_dict())
        for name, field in part.model_fields.items():
            default = 224 if name == "image_size" else getattr(config(), name)
            assert field.default == default, name


@pytest.mark.parametrize(
    ("model_class", "config", "message"),
    [
        (
            "UNet2DConditionModel",
            {"qk_norm": "rms_norm", "use_motion_module": True, "later": None},
            "UNet2DConditionModel knows no qk_norm, use_motion_module; what such a key asks for would be missing from what is "
            "built. Name a model of the plain kind or, if you know that the key does nothing, remove it in a copy of the model",
        ),
        (
            "CLIPTextModel",
            {"auto_map": {"AutoModel": "someone/code--model.Own"}},
            "CLIPTextModel knows no auto_map; ",
        ),
        ("CLIPTextModel", {"pruned_heads": {"0": [1]}}, "CLIPTextModel knows no pruned_heads; "),
        ("CLIPTextModel", {"is_decoder": True}, "CLIPTextModel knows no is_decoder; "),
        (
            "StableDiffusionSafetyChecker",
            {"vision_config": {"own": 1}},
            "CLIPVisionModel knows no vision_config.own; ",
        ),
        (
            "UNet2DConditionModel",
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "the model is stored quantized (quantization_config), in a form that only its own library reads; name the model "
            "that it was made from, with float16 or float32 weights, and say under `compress:` how small it should be",
        ),
        ("CLIPTextModel", {"num_hidden_layers": 10_000_000}, "num_hidden_layers: 10000000 is more than 128; "),
        ("CLIPTextModel", {"num_hidden_layers": "12"}, "num_hidden_layers: '12' is not a whole number; "),
        ("CLIPTextModel", {"num_hidden_layers": True}, "num_hidden_layers: true is not a whole number; "),
        ("CLIPTextModel", {"num_hidden_layers": None}, "num_hidden_layers: null is not a whole number; "),
        (
            "CLIPTextModel",
            {"hidden_size": 0, "vocab_size": -1},
            "hidden_size: 0 is less than 1; vocab_size: -1 is less than 1; the file",
        ),
        (
            "UNet2DConditionModel",
            {"block_out_channels": [-1, -2, 8, -4, -5]},
            "block_out_channels[0]: -1 is less than 1; block_out_channels[1]: -2 is less than 1; block_out_channels[3]: -4 is "
            "less than 1; and 1 more fault; the file",
        ),
        (
            "CLIPTextModel",
            {"hidden_act": "someone/gelu"},
            "hidden_act: 'someone/gelu' is none of 'quick_gelu', 'gelu', ",
        ),
        ("CLIPTextModel", {"layer_norm_eps": 10**400}, "layer_norm_eps: 1000000"),
        ("UNet2DConditionModel", {"down_block_types": {}}, "down_block_types: {} is not a list; "),
        (
            "UNet2DConditionModel",
            {"block_out_channels": []},
            "block_out_channels: has 0 entries, where 1 to 8 can be; ",
        ),
        (
            "UNet2DConditionModel",
            {"block_out_channels": [8, 10**9]},
            "block_out_channels[1]: 1000000000 is more than 16384; ",
        ),
        (
            "UNet2DConditionModel",
            {"layers_per_block": [2, "2"]},
            "layers_per_block: must be a whole number or a list of such, and has '2'; ",
        ),
        (
            "UNet2DConditionModel",
            {"attention_head_dim": 10**7},
            "attention_head_dim: 10000000 is not from 1 to 16384; ",
        ),
        (
            "UNet2DConditionModel",
            {"transformer_layers_per_block": [1, 64, [64, 64]], "layers_per_block": 8},
            "block_out_channels, layers_per_block and transformer_layers_per_block come to 4608 transformers, and 512 can be "
            "built; ",
        ),
        ("AutoencoderKL", {"latents_mean": [0.1, "x"]}, "latents_mean[1]: 'x' is not a number; "),
        ("StableDiffusionSafetyChecker", {"vision_config": []}, "vision_config: [] is not an object; "),
        (
            "StableDiffusionSafetyChecker",
            {"vision_config": {"patch_size": 0}},
            "vision_config.patch_size: 0 is less than 1; ",
        ),
    ],
)
def test_what_is_refused_and_how(model_class: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError) as failure:
        known_part(model_class, config, "model: unet/config.json")
    assert str(failure.value).startswith(f"model: unet/config.json: {message}")
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) < 450


CHOOSING = {
    "attn_implementation": "someone/kernels",
    "_attn_implementation": "someone/kernels",
    "torch_dtype": "float16",
}


def test_no_configuration_chooses_code() -> None:
    text, vision = TEXT | CHOOSING, CHECKER["vision_config"] | CHOOSING
    assert text_encoder(text).config._attn_implementation == "sdpa"
    assert text_encoder(text).dtype == text_encoder(TEXT).dtype
    checker = CHECKER | CHOOSING | {"vision_config": vision}
    assert safety_checker(checker).config.vision_config._attn_implementation == "sdpa"
    assert safety_checker(checker).config._attn_implementation == safety_checker(CHECKER).config._attn_implementation
    model, _ = originals.build("clip_text", text, {})
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_every_builder_of_models_has_the_limits(kind: str, tmp_path: Path) -> None:
    config = CONFIGS[kind] | {"block_out_channels": [10**7], "num_hidden_layers": 10**7, "projection_dim": 10**7}
    with pytest.raises(UserError, match=r"10000000 is (more than|not from)"):
        build(kind, config, Shape(64, 64))
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"10000000 is (more than|not from)"):
        original(kind, tmp_path / "config.json", tmp_path)


def test_every_class_of_the_families_has_an_architecture() -> None:
    from sdbuild.recipe.family import load_family

    for name in ("sd1", "sd2", "sdxl"):
        assert {part.model_class for part in load_family(name).components.values()} <= ARCHITECTURES.keys()
