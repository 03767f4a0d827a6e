"""A recipe as it is written in YAML: the shape of the file, and what each key means."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from sdbuild.generate_variables import MAX_GUIDANCE
from sdbuild.recipe.catalogue import catalogue
from sdbuild.recipe.compression import Step
from sdbuild.recipe.embeddings import WrittenEmbedding
from sdbuild.recipe.family import Precision
from sdbuild.recipe.fields import (
    EVERYTHING,
    NAME_PATTERN,
    ResolutionField,
    Revision,
    Sha256,
    Sourced,
    Strict,
    check_name,
    form,
    offer,
    wrong,
)
from sdbuild.recipe.files import family_files
from sdbuild.recipe.generating import Generate
from sdbuild.recipe.loras import LoraField
from sdbuild.recipe.problems import allowed, hint, suggestion
from sdbuild.recipe.scheduler import Scheduler
from sdbuild.recipe.targets import TARGETS, os_problem

ComputeUnits = Literal["all", "cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine"]
Attention = Literal["original", "split_einsum", "split_einsum_v2"]
Compiler = Literal["portable", "xcode", "auto"]


def _schema(number: int) -> int:
    if number != 1:
        raise wrong(f"recipes of schema {number} are not known to this version of sdbuild", allowed([1]))
    return number


def _pipeline(name: str) -> str:
    known = list(family_files())
    if name not in known:
        raise wrong(f"no pipeline '{name}'", *hint(name, known), allowed(known))
    return name


def _device(name: str) -> str:
    known = catalogue().devices
    if name not in known:
        titles = {device.title: key for key, device in known.items()}
        near = suggestion(name, known, cutoff=0.85) or suggestion(name, titles, cutoff=0.85)
        alike = [key for key in known if key.partition("-")[0] in name.lower()]
        raise wrong(f"unknown device '{name}'", *near, allowed(alike or known))
    return name


def _os(name: str) -> str:
    if problem := os_problem(name):
        raise wrong(problem[0], *problem[1])
    return name


def _line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise wrong("expected one line of text")
    return text


def _short_source(text: str) -> dict[str, str]:
    return {"source": text}


About = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_line)]
Variant = Annotated[str, Field(max_length=40, pattern=r"^[A-Za-z0-9_-]+$")]
PredictionType = Literal["epsilon", "v_prediction"]
OTHER_SOURCES = ("vae", "text_encoder", "text_encoder_2", "config")
"""Keys of ``model:`` that name sources beside the model's own."""


class OtherSource(Sourced):
    """Where to take a part of the model from instead of the model's own source."""


_ShortSource = Annotated[
    OtherSource,
    BeforeValidator(_short_source),
    WithJsonSchema({"type": "string", "examples": ["madebyollin/sdxl-vae-fp16-fix"]}),
]
_Other = Annotated[Annotated[_ShortSource, Tag("text")] | Annotated[OtherSource, Tag("mapping")], Discriminator(form)]


class Model(Strict):
    """Which weights to build from."""

    source: str = Field(
        min_length=1,
        description="Hub id (org/name), a local diffusers folder (relative to this file), builtin:shapes, or a single file: "
        "local, of the hub (org/name/file.safetensors) or at an address (https://…).",
        examples=[
            "stabilityai/stable-diffusion-xl-base-1.0",
            "./my-finetune",
            "./portraits.safetensors",
            "builtin:shapes",
        ],
    )
    revision: Revision | None = Field(
        default=None,
        description="Commit, tag or branch on the hub. Pin the 40-digit commit: only then are builds repeatable.",
    )
    sha256: Sha256 | None = Field(
        default=None, description="Of the file at an address (https://…), which needs it: 64 hexadecimal digits."
    )
    vae: _Other | None = Field(
        default=None, description="Another VAE: hub id, folder or single file, or {source, revision}."
    )
    text_encoder: _Other | None = Field(
        default=None, description="Another text encoder, for a file without one: hub id, folder or single file."
    )
    text_encoder_2: _Other | None = Field(
        default=None, description="The same for the second text encoder of Stable Diffusion XL."
    )
    config: _Other | None = Field(
        default=None,
        description="Of a single file whose architecture, tokenizer or scheduler is not its family's: the model, as a folder "
        "or on the hub, whose configurations it has.",
        examples=["builtin:shapes"],
    )
    prediction_type: PredictionType | None = Field(
        default=None,
        description="What the UNet in a single file predicts, where the file does not say: noise (epsilon), or v.",
    )
    zero_terminal_snr: bool | None = Field(
        default=None,
        description="The UNet in a single file was trained on a schedule that ends in noise alone; default: as the file's "
        "marks say.",
    )
    ema: bool | None = Field(
        default=None,
        description="Of a single file that has the weights of its UNet twice, take those that training averaged; default: "
        "the last ones.",
    )
    guidance_embedding: Annotated[float, Field(ge=1, le=MAX_GUIDANCE)] | None = Field(
        default=None,
        description="The guidance scale, as diffusers counts it, that a UNet with time_cond_proj_dim is built with.",
        examples=[8.0],
    )
    scheduler: Scheduler = Field(
        default=Scheduler(),
        description="Keys of the model's scheduler_config.json that are to be others than there, such as timestep_spacing.",
        examples=[{"timestep_spacing": "trailing"}],
    )
    loras: tuple[LoraField, ...] = Field(
        default=(),
        description="LoRAs and their relatives, which are merged into the weights: files, or {source, weight, …}.",
    )
    allow_pickle: bool = Field(
        default=False,
        description="Accept weights in pickle format (.bin), loaded with restrictions. Prefer safetensors.",
    )
    variant: Variant | None = Field(
        default=None,
        description="Variant of the weights, as in their file names, of the models that have it; `plain` for files without "
        "one. Default: fp16 where there is one, else plain.",
        examples=["bf16", "non_ema"],
    )
    embeddings: tuple[WrittenEmbedding, ...] = Field(
        default=(),
        description="Learned embeddings (textual inversion), each with the word that is written for it: {source, token}.",
    )
    author: About | None = Field(
        default=None, description="Author that Xcode shows of the models; default: from the model card, if it says so."
    )
    license: About | None = Field(
        default=None, description="Their license; default: from the model card, if it says so.", examples=["openrail++"]
    )
    version: About | None = Field(default=None, description="Their version; default: the id of a model of the hub.")


class WrittenTarget(Strict):
    """What the models are to run on. Name a device, a system, or both."""

    device: Annotated[str, AfterValidator(_device)] | None = Field(
        default=None,
        description="A device of the catalogue: the weakest one that the app supports.",
        json_schema_extra=lambda schema: offer(schema, list(catalogue().devices)),
    )
    os: Annotated[str, AfterValidator(_os)] | None = Field(
        default=None,
        description="Oldest system that the models must load on; default: from the device.",
        json_schema_extra=lambda schema: offer(schema, list(TARGETS)),
    )
    compute_units: ComputeUnits | None = Field(
        default=None, description="Processors that the app will load the models for; default: from the device."
    )


class Bundle(Strict):
    """How the Resources folder is delivered."""

    zip: bool = Field(default=False, description="Also write a zip in the layout that apps download.")


def _everywhere(value: Any) -> Any:
    """A number alone stands for everything that is measured."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {EVERYTHING: float(value)}
    if value is not None and not isinstance(value, dict):
        found = f", found the text '{value}'" if isinstance(value, str) and len(value) <= 40 else ""
        raise wrong(
            f"expected a number of dB, or one for each of several components{found}",
            "write the PSNR that what ships must reach, such as 35, or {unet: 35, image: 30}",
        )
    return value


_Decibels = Annotated[float, Field(ge=0, le=200)]


class Verify(Strict):
    """Compare what every stage makes with PyTorch, before anything is bundled."""

    min_psnr: Annotated[
        dict[str, _Decibels],
        BeforeValidator(_everywhere),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "number", "minimum": 0, "maximum": 200},
                    {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 200}},
                ],
                "examples": [35, {"unet": 30, "image": 25}],
            }
        ),
    ] = Field(
        default={},
        description="The PSNR, in dB, that what ships must reach: one number for all components, or one for each and for "
        "`image`, the image that the whole bundle generates. What falls short fails the build.",
    )
    image: bool = Field(
        default=True, description="Also generate an image with the bundle, and compare it with PyTorch's."
    )


class WrittenRecipe(Strict):
    """A recipe: which models to build, for what, and how."""

    schema_version: Annotated[int, AfterValidator(_schema)] = Field(
        default=1, alias="schema", description="Version of the recipe format.", json_schema_extra={"const": 1}
    )
    extends: str | None = Field(
        default=None,
        min_length=1,
        description="Another recipe, which this one is laid over: a path from this file's folder, or a name from `list`. "
        "Mappings merge, anything else replaces, null removes.",
        examples=["base.yaml", "sdxl-ios"],
    )
    name: Annotated[str, AfterValidator(check_name)] = Field(
        description="Names the build folder: build/<name>/.", json_schema_extra={"pattern": f"^{NAME_PATTERN}$"}
    )
    pipeline: Annotated[str, AfterValidator(_pipeline)] = Field(
        description="The model family: a file of pipelines/.",
        json_schema_extra=lambda schema: offer(schema, list(family_files())),
    )
    model: Model = Field(description="Which weights to build from.")
    components: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Components to build; default: what text-to-image needs. Add vae_encoder for image-to-image, "
        "safety_checker to withhold images.",
    )
    target: WrittenTarget = Field(description="What the models are to run on.")
    resolution: ResolutionField | None = Field(
        default=None,
        description="Image size: WIDTHxHEIGHT in pixels, or {width, height}; default: the family's.",
        examples=["512x512"],
    )
    batch: int | None = Field(
        default=None,
        ge=1,
        le=2,
        description="Batch of the UNet: 2 runs both halves of classifier-free guidance at once; 1 without guidance.",
    )
    attention: Attention | None = Field(
        default=None,
        description="How attention is computed: original for the GPU, split_einsum variants for the Neural Engine; "
        "default: from the compute units.",
    )
    precision: dict[str, Precision] = Field(
        default_factory=dict,
        description="Precision of single components: float16, or float32 for one whose numbers outgrow float16; default: the "
        "family's, and float16 for a VAE that says it is made for that.",
        examples=[{"vae_decoder": "float16"}],
    )
    compress: dict[str, tuple[Step, ...] | None] = Field(
        default_factory=dict, description="For each component a list of compression steps; null leaves it alone."
    )
    chunk: bool | None = Field(
        default=None,
        description="Cut the UNet in two parts of about equal weight, for phones that can't load it whole.",
    )
    compile: Compiler = Field(
        default="portable",
        description="What makes .mlmodelc: sdbuild's own compiler, Xcode's, or Xcode's where there is one.",
    )
    generate: Generate = Field(
        default=Generate(),
        description="How images are to be generated: defaults of the app and of `generate`; nothing is built again for them.",
    )
    bundle: Bundle = Field(default=Bundle(), description="How the Resources folder is delivered.")
    verify: Verify | None = Field(
        default=None, description="Hold what every stage makes against PyTorch, and fail the build if it falls short."
    )
    variants: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="Builds to make from this recipe instead of one: each has a name of its own and the keys that "
        "differ. Mappings merge, anything else replaces, null goes back to the default.",
    )
