"""What configurations may say: for each class of model the keys that it knows, their types, and how far numbers go.

Keys and defaults are those of diffusers' ``UNet2DConditionModel`` and ``AutoencoderKL``, and of transformers'
``CLIPTextConfig``, ``CLIPVisionConfig`` and ``CLIPConfig``. Only what stands here reaches these libraries: other keys of
theirs choose code to load, types and attention. The limits are some times those of the largest models of these families: a
number beyond them is damage, or would keep a trace busy without end.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from sdbuild.errors import SourceError
from sdbuild.sources.base import shown

_BLOCKS, _WIDTH, _IMAGE = 8, 16384, 65536
_LAYERS_IN_ALL = 512  # of a UNet's transformers; Stable Diffusion XL has 70


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("sdbuild", "{message}", {"message": message})


def _quoted(value: Any) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else shown(value)


def _within(low: int, high: int) -> Callable[[Any], Any]:
    """A check for a whole number, or lists of such to any depth: one for all blocks or one for each."""

    def check(value: Any) -> Any:
        for number in _leaves(value):
            if type(number) is not int:
                raise _wrong(f"must be a whole number or a list of such, and has {_quoted(number)}")
            if not low <= number <= high:
                raise _wrong(f"{shown(number)} is not from {low} to {high}")
        return value

    return check


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        if not 1 <= len(value) <= _BLOCKS:
            raise _wrong(f"has {len(value)} entries, where 1 to {_BLOCKS} can be")
        for item in value:
            yield from _leaves(item)
    else:
        yield value


Width = Annotated[int, Field(ge=1, le=_WIDTH)]
Widths = Annotated[list[Width], Field(min_length=1, max_length=_BLOCKS)]
Kinds = Annotated[list[str], Field(min_length=1, max_length=_BLOCKS)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
Share = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]
Token = Annotated[int, Field(ge=-1, le=10_000_000)]
Sides = Annotated[Any, AfterValidator(_within(1, _IMAGE))]
Activation = Literal[
    "quick_gelu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "mish", "tanh"
]

_HARMLESS = {
    "about whoever saved it": "transformers_version torch_dtype dtype",
    "how the library is to run it, which is chosen here": (
        "attn_implementation return_dict output_hidden_states output_attentions torchscript use_bfloat16 tf_legacy_loss "
        "chunk_size_feed_forward use_cache gradient_checkpointing xla_device"
    ),
    "about tasks and other networks around it": (
        "model_type tokenizer_class finetuning_task id2label label2id num_labels problem_type prefix task_specific_params "
        "sep_token_id decoder_start_token_id tie_word_embeddings tie_encoder_decoder"
    ),
    "how text is generated, which these models do not do": (
        "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p "
        "typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids "
        "num_return_sequences output_scores suppress_tokens begin_suppress_tokens return_dict_in_generate forced_bos_token_id "
        "forced_eos_token_id remove_invalid_values exponential_decay_length_penalty"
    ),
    "of training alone": "dropout logit_scale_init_value",
    "how diffusers' EMAModel averaged the weights that it saved": (
        "decay min_decay optimization_step update_after_step use_ema_warmup inv_gamma power foreach"
    ),
}
"""By the reason why they change no output: keys that any configuration may have though no class of model knows them. So may
those that begin with an underscore, which are the saver's own, and those that are null, which ask for nothing."""
HARMLESS = frozenset(key for keys in _HARMLESS.values() for key in keys.split())
_ONLY_OFF: dict[str, tuple[Any, ...]] = {
    "pruned_heads": ({},),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
}
"""Keys that transformers wrote into every configuration: harmless while they say that nothing is to be done."""


class Architecture(BaseModel):
    """A model's configuration. What a file leaves out has the default of the library."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    named_by: ClassVar[frozenset[str]] = frozenset()
    """Keys that tell the class, which are kept beside those of the model."""
    inert: ClassVar[frozenset[str]] = frozenset()
    """Further keys of this class that change no output."""


class _OfDiffusers(Architecture):
    named_by = frozenset({"_class_name"})


class _OfTransformers(Architecture):
    named_by = frozenset({"architectures"})


class UNet(_OfDiffusers):
    """``UNet2DConditionModel``; which kinds of blocks and embeddings can be built is for `checks` to say."""

    sample_size: Sides | None = None
    in_channels: Width = 4
    out_channels: Width = 4
    center_input_sample: bool = False
    flip_sin_to_cos: bool = True
    freq_shift: Annotated[int, Field(ge=-1, le=1)] = 0
    down_block_types: Kinds = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    up_block_types: Kinds = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    only_cross_attention: Any = False
    block_out_channels: Widths = [320, 640, 1280, 1280]
    layers_per_block: Annotated[Any, AfterValidator(_within(1, 8))] = 2
    downsample_padding: Annotated[int, Field(ge=0, le=8)] | None = 1
    mid_block_scale_factor: Number = 1
    dropout: Share = 0.0
    act_fn: Activation = "silu"
    norm_num_groups: Width | None = 32
    norm_eps: Share = 1e-5
    cross_attention_dim: Width = 1280
    transformer_layers_per_block: Annotated[Any, AfterValidator(_within(1, 64))] = 1
    reverse_transformer_layers_per_block: Annotated[Any, AfterValidator(_within(1, 64))] | None = None
    encoder_hid_dim: Any = None
    encoder_hid_dim_type: Any = None
    attention_head_dim: Annotated[Any, AfterValidator(_within(1, _WIDTH))] = 8
    num_attention_heads: Any = None
    dual_cross_attention: Any = False
    use_linear_projection: bool | None = False
    class_embed_type: Any = None
    addition_embed_type: Any = None
    addition_time_embed_dim: Width | None = None
    num_class_embeds: Any = None
    upcast_attention: bool | None = False
    resnet_time_scale_shift: Any = "default"
    resnet_skip_time_act: bool | None = False
    resnet_out_scale_factor: Number = 1.0
    time_embedding_type: Any = "positional"
    time_embedding_dim: Width | None = None
    time_embedding_act_fn: Activation | None = None
    timestep_post_act: Any = None
    time_cond_proj_dim: Annotated[int, Field(ge=4, le=_WIDTH)] | None = None
    conv_in_kernel: Annotated[int, Field(ge=1, le=15)] = 3
    conv_out_kernel: Annotated[int, Field(ge=1, le=15)] = 3
    projection_class_embeddings_input_dim: Annotated[int, Field(ge=1, le=8 * _WIDTH)] | None = None
    attention_type: Any = "default"
    class_embeddings_concat: bool | None = False
    mid_block_only_cross_attention: bool | None = None
    cross_attention_norm: Any = None
    addition_embed_type_num_heads: Annotated[int, Field(ge=1, le=_WIDTH)] = 64

    @model_validator(mode="after")
    def _bounded(self) -> "UNet":
        # layers of the way down, at most as many again and one more each on the way up, and those of the middle
        blocks = len(self.block_out_channels)
        layers = max(_leaves(self.layers_per_block)) + 1
        deepest = [self.transformer_layers_per_block, self.reverse_transformer_layers_per_block or 1]
        count = 2 * blocks * layers * max(max(_leaves(depth)) for depth in deepest)
        if count > _LAYERS_IN_ALL:
            raise _wrong(
                f"block_out_channels, layers_per_block and transformer_layers_per_block come to {count} transformers, and "
                f"{_LAYERS_IN_ALL} can be built"
            )
        return self


class Vae(_OfDiffusers):
    """``AutoencoderKL``."""

    in_channels: Width = 3
    out_channels: Width = 3
    down_block_types: Kinds = ["DownEncoderBlock2D"]
    up_block_types: Kinds = ["UpDecoderBlock2D"]
    block_out_channels: Widths = [64]
    layers_per_block: Annotated[int, Field(ge=1, le=8)] = 1
    act_fn: Activation = "silu"
    latent_channels: Width = 4
    norm_num_groups: Width = 32
    sample_size: Sides | None = 32
    scaling_factor: Number = 0.18215
    shift_factor: Number | None = None
    latents_mean: Annotated[list[Number], Field(max_length=_WIDTH)] | None = None
    latents_std: Annotated[list[Number], Field(max_length=_WIDTH)] | None = None
    force_upcast: bool | None = True
    use_quant_conv: bool | None = True
    use_post_quant_conv: bool | None = True
    mid_block_add_attention: bool | None = True


class _Transformer(_OfTransformers):
    hidden_size: Width = 512
    intermediate_size: Annotated[int, Field(ge=1, le=4 * _WIDTH)] = 2048
    projection_dim: Width | None = 512
    num_hidden_layers: Annotated[int, Field(ge=1, le=128)] = 12
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 8
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: Share = 1e-5
    attention_dropout: Share | None = 0.0
    initializer_range: Number = 0.02
    initializer_factor: Number | None = 1.0


class TextEncoder(_Transformer):
    """``CLIPTextModel`` and ``CLIPTextModelWithProjection``."""

    vocab_size: Annotated[int, Field(ge=1, le=1_000_000)] = 49408
    max_position_embeddings: Annotated[int, Field(ge=1, le=4096)] = 77
    pad_token_id: Token | None = 1
    bos_token_id: Token | None = 49406
    eos_token_id: Token | None = 49407


class Vision(_Transformer):
    """``CLIPVisionModel``, which looks at images for the safety checker."""

    named_by = frozenset()
    inert = frozenset({"pad_token_id", "bos_token_id", "eos_token_id", "architectures"})

    hidden_size: Width = 768
    intermediate_size: Annotated[int, Field(ge=1, le=4 * _WIDTH)] = 3072
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 12
    num_channels: Width = 3
    image_size: Annotated[int, Field(ge=1, le=4096)] = 224
    patch_size: Annotated[int, Field(ge=1, le=4096)] = 32


class SafetyChecker(_OfTransformers):
    """``StableDiffusionSafetyChecker``: of the CLIP model that it comes from it has the half that sees."""

    inert = frozenset({"text_config", "text_config_dict", "pad_token_id", "bos_token_id", "eos_token_id"})

    projection_dim: Width | None = 512
    initializer_factor: Number | None = 1.0
    vision_config: dict[str, Any] | None = None
    vision_config_dict: dict[str, Any] | None = None


ARCHITECTURES: dict[str, type[Architecture]] = {
    "UNet2DConditionModel": UNet,
    "AutoencoderKL": Vae,
    "CLIPTextModel": TextEncoder,
    "CLIPTextModelWithProjection": TextEncoder,
    "StableDiffusionSafetyChecker": SafetyChecker,
}
"""By the names of the classes."""


def known_part(model_class: str, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The part of a configuration that says what the model is: its own keys, as they were written.

    ``where`` begins the message: the source and the path of the file.

    Raises:
        SourceError: a value of a wrong type or beyond the limits, or a key that may ask for what would not be built.
    """
    kept = _known(ARCHITECTURES[model_class], model_class, config, where, "")
    for key in ("vision_config", "vision_config_dict"):
        if kept.get(key) is not None:
            kept[key] = _known(Vision, "CLIPVisionModel", kept[key], where, f"{key}.")
    return kept


def _known(
    model: type[Architecture], model_class: str, config: Mapping[str, Any], where: str, inside: str
) -> dict[str, Any]:
    if config.get("quantization_config") is not None:
        raise SourceError(
            f"{where}: the model is stored quantized ({inside}quantization_config), in a form that only its own library reads; "
            "name the model that it was made from, with float16 or float32 weights, and say under `compress:` how small it "
            "should be"
        )
    try:
        model.model_validate(dict(config))
    except ValidationError as error:
        faults = list(dict.fromkeys(f"{inside}{_explained(fault)}" for fault in error.errors(include_url=False)))
        count = len(faults) - _FAULTS
        others = f"; and {count} more {'faults' if count > 1 else 'fault'}" if count > 0 else ""
        raise SourceError(
            f"{where}: {'; '.join(faults[:_FAULTS])}{others}; the file is damaged or not for this kind of model: get it again, "
            "or name another source"
        ) from None
    own = model.model_fields.keys() | model.named_by
    unknown = [key for key, value in config.items() if key not in own and not _is_harmless(model, key, value)]
    if unknown:
        names = ", ".join(f"{inside}{shown(key)}" for key in sorted(unknown)[:8])
        many = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise SourceError(
            f"{where}: {model_class} knows no {names}{many}; what such a key asks for would be missing from what is built. "
            "Name a model of the plain kind or, if you know that the key does nothing, remove it in a copy of the model"
        )
    return {key: value for key, value in config.items() if key in own}


def _is_harmless(model: type[Architecture], key: str, value: Any) -> bool:
    if key.startswith("_") or value is None or key in HARMLESS or key in model.inert:
        return True
    return value in _ONLY_OFF.get(key, ())


_FAULTS = 3  # in a message
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "an object",
}


def _explained(fault: ErrorDetails) -> str:
    """`num_hidden_layers: 10000000 is more than 128`."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).removeprefix(".")
    given, kind, limits = fault["input"], fault["type"], fault.get("ctx", {})
    value = _quoted(given)
    match kind:
        case "greater_than_equal":
            said = f"{value} is less than {limits['ge']}"
        case "less_than_equal":
            said = f"{value} is more than {limits['le']}"
        case "too_short" | "too_long":
            said = f"has {limits['actual_length']} entries, where 1 to {limits.get('max_length', _BLOCKS)} can be"
        case "literal_error":
            said = f"{value} is none of {limits['expected']}"
        case "sdbuild":
            said = str(limits["message"])
        case _:
            said = f"{value} is not {_EXPECTED.get(kind, 'what it should be')}"
    return f"{key}: {said}" if key else said
