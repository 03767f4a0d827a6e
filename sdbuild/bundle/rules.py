"""What Apple's Swift package asks of a Resources folder, as data.

Read off apple/ml-stable-diffusion @e12202c, ``swift/StableDiffusion/pipeline``: it opens models by fixed names, looks
features up by fixed names (or takes the first of a single one), and passes and reads float32 arrays. A new pipeline is a
new entry of `PIPELINES`.

A dimension of a shape is a number, a word that stands for the same number all through the folder, a sum or product of
such ("context_1+context_2", "vae_factor*latent_height"), or `ANY`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

ANY = "*"
FLOATS = frozenset({"Float16", "Float32"})
FLOAT32 = frozenset({"Float32"})
START, END = "<|startoftext|>", "<|endoftext|>"

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Port:
    """An input or output: ``name`` is None where any will do, ``shape`` where it is not looked at.

    ``dtypes`` are those that an input may declare: Core ML converts the app's float32 to float16, and whole numbers up
    to 2048 survive that. Outputs are always float32. ``why`` is what the app makes of another shape. The app reads the
    shape of an input that is ``probed``, in a chunked model from the first chunk.
    """

    name: str | None
    shape: Shape | None
    dtypes: frozenset[str] = FLOATS
    why: str = "shapes that do not fit each other stop the app"
    probed: bool = False


@dataclass(frozen=True)
class Model:
    """A compiled model ``<name>.mlmodelc``; if ``chunkable``, ``<name>Chunk1`` and ``<name>Chunk2`` serve as well.

    With ``more_outputs`` the app asks for outputs by name and others do no harm. ``overflows`` says that float16
    arithmetic spoils the result.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    required: bool = True
    chunkable: bool = False
    more_outputs: bool = False
    overflows: bool = False


@dataclass(frozen=True)
class Pipeline:
    """The models of a folder, in the order in which their shapes explain each other.

    ``vocabulary`` are the tokens that the tokenizer's files must know; None: there are no such files. ``sizes`` fixes
    words used in shapes, ``choices`` limits them. ``controlled`` is the UNet that takes what ControlNets give.
    ``multilingual`` is what the folder must be when it holds Apple's projection for the system's own text encoder.
    """

    models: tuple[Model, ...]
    vocabulary: tuple[str, ...] | None = (START, END)
    sizes: Mapping[str, int] = field(default_factory=lambda: {"tokens": 77})
    choices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    controlled: Model | None = None
    multilingual: "Pipeline | None" = None


_LATENT: Shape = (4, "latent_height", "latent_width")
_IMAGE: Shape = (3, "vae_factor*latent_height", "vae_factor*latent_width")
_IDS = (Port("input_ids", (1, "tokens"), FLOAT32),)  # ids run past what float16 counts


def _unet(name: str, batch: int | str, context: str, *more: Port, required: bool = True) -> Model:
    return Model(
        name,
        inputs=(
            Port("sample", (batch, *_LATENT), why="the app draws 4 channels of noise of the image's size", probed=True),
            Port("timestep", (batch,)),
            Port("encoder_hidden_states", (batch, context, 1, "tokens")),
            *more,
        ),
        outputs=(Port("noise_pred", (batch, *_LATENT)),),
        required=required,
        chunkable=True,
    )


def _time_ids(count: int) -> Port:
    return Port("time_ids", (2, count), why="the app knows base model and refiner by 6 or 5 numbers a row", probed=True)


def _text_encoder_xl(name: str, context: str, pooled: int | str) -> Model:
    hidden = (Port("hidden_embeds", (1, "tokens", context)), Port("pooled_outputs", (1, pooled)))
    return Model(name, _IDS, hidden, more_outputs=True)


_TEXT_ENCODER = Model("TextEncoder", _IDS, (Port("last_hidden_state", (1, "tokens", "context")),), more_outputs=True)
_DECODER = Model("VAEDecoder", (Port("z", (1, *_LATENT)),), (Port(None, (1, *_IMAGE)),))
_ENCODER = Model(
    "VAEEncoder",
    (Port(None, (1, *_IMAGE), why="the app refuses images of any other size"),),
    (Port(None, (1, 8, *_LATENT[1:]), why="the app reads 4 channels of means, then 4 of log-variances"),),
    required=False,
)
_SAFETY_CHECKER = Model(
    "SafetyChecker",
    (Port("clip_input", (ANY,) * 4), Port("adjustment", (1,)), Port("images", (1, 512, 512, 3))),
    (Port("has_nsfw_concepts", None),),
    required=False,
    more_outputs=True,
)
_PROJECTION = Model(
    "MultilingualTextEncoderProjection", (Port(None, (1, 256, ANY)),), (Port(None, (1, "context", 1, 256)),)
)
CONTROLNET = Model(
    "controlnet",
    (*_unet("", 2, "context").inputs, Port("controlnet_cond", (2, *_IMAGE))),
    (),
    more_outputs=True,
)
"""Each of ``controlnet/*.mlmodelc``; what it gives, `Pipeline.controlled` takes."""

_DIFFUSION_MODELS = (_unet("Unet", "batch", "context"), _DECODER, _ENCODER, _SAFETY_CHECKER)
_BATCHES = {"batch": (1, 2)}
_CONTROLLED = _unet("ControlledUnet", 2, "context")

_DIFFUSION = Pipeline(
    models=(_TEXT_ENCODER, *_DIFFUSION_MODELS),
    choices=_BATCHES,
    controlled=_CONTROLLED,
    multilingual=Pipeline(
        models=(_PROJECTION, *_DIFFUSION_MODELS),
        vocabulary=None,
        sizes={"tokens": 256},
        choices=_BATCHES,
        controlled=_CONTROLLED,
    ),
)
_XL = Pipeline(
    models=(
        _text_encoder_xl("TextEncoder", "context_1", ANY),
        _text_encoder_xl("TextEncoder2", "context_2", "pooled"),
        _unet(
            "Unet",
            2,
            "context_1+context_2",
            _time_ids(6),
            Port("text_embeds", (2, "pooled")),
        ),
        _unet(
            "UnetRefiner",
            2,
            "context_2",
            _time_ids(5),
            Port("text_embeds", (2, "pooled")),
            required=False,
        ),
        replace(_DECODER, overflows=True),
        replace(_ENCODER, overflows=True),
    ),
    vocabulary=(START, END, "!"),  # the second text encoder's padding
)

PIPELINES: Mapping[str, Pipeline] = {"sd1": _DIFFUSION, "sd2": _DIFFUSION, "sdxl": _XL}
"""By the name of the family."""
