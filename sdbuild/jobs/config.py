"""config: the small files of a model, checked against the recipe before anything heavy is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sdbuild.job import parts, stage


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """Where a model comes from, and the state of its files."""

    kind: str
    """The name of its module in `sdbuild.sources`."""
    id: str
    """Such as the hub's, the name of the built-in model, or the folder as the recipe writes it."""
    revision: str | None = None
    """Commit, tag or branch; None for the default branch."""
    path: str | None = None
    """Of the user's files on this machine: their folder, absolute."""
    files: dict[str, str] = field(default_factory=dict)
    """On this machine: the state of the files that the stage may read, by path in the folder. It makes an edit of the model
    change the stage's key."""
    sha256: str | None = None
    """Of a file somewhere in the web."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A component: what its configuration must say, and where it lies."""

    folder: str
    """Inside the source."""
    model_class: str
    role: str
    """Its part in the pipeline."""
    source: str
    """Name of its source."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A learned embedding."""

    token: str
    """What is to be written for it."""
    source: SourceFacts
    file: str | None = None
    """In the source; None: the only one."""


@dataclass(frozen=True, kw_only=True)
class SingleFile:
    """What is said of the models in single files, which come without configurations."""

    scheduler: dict[str, Any]
    """The family's."""
    usual_prediction: str | None
    """Of the family's models that say nothing; None where that can't be known."""
    pipeline_class: str
    """That a ``model_index.json`` of the family would name."""
    prediction_type: str | None = None
    """As the recipe says; so are the next two."""
    zero_terminal_snr: bool | None = None
    ema: bool | None = None
    config: SourceFacts | None = None
    """A model whose configurations, tokenizers and scheduler are taken."""


def _uses(job: Config) -> set[str]:
    layouts = {"sources.layouts"} if job.single_file is not None else set()
    return layouts | {f"sources.{facts.kind}" for facts in parts(job, SourceFacts)}


@stage(
    "config",
    version=9,
    title="read the model's configuration, tokenizer and list of files",
    fetches=True,
    uses=_uses,
)
class Config:
    """Configurations in canonical form, tokenizers, and which weight files to fetch.

    Writes ``components/<name>/`` with ``config.json``, ``files.json`` (the ``commit``, null for a folder, and the weight
    ``files``) and ``card.json`` (author, license, version); ``<tokenizer>/vocab.json`` and ``merges.txt``;
    ``<scheduler>/scheduler_config.json``; ``model_index.json``; and ``notes.json``, what the app's author should know. With
    embeddings also ``embeddings.json``: tokens, their numbers and where they are from; and for each text encoder
    ``rows.safetensors``: what its table of tokens has more than its weights.
    """

    source: SourceFacts
    others: dict[str, SourceFacts]
    """Of components that do not come from it: by the name of the recipe's key, such as vae."""
    single_file: SingleFile | None = None
    """None where no source is one."""
    allow_pickle: bool
    variant: str | None
    """Of the weights."""
    components: dict[str, Wanted]
    pipeline: str
    """The family's name; what follows is the family's, too."""
    encoders: dict[str, str]
    """Folder → class of its text encoders."""
    tokenizers: tuple[str, ...]
    """Folders."""
    scheduler: str
    """Folder."""
    vae_factor: int
    vae_scale: float
    latent_channels: int
    tokens: int
    image_sizes: int
    """How many numbers on an image's size the denoiser takes, beside a pooled prompt; 0 for neither."""
    latent_statistics: bool
    """A mean and a deviation for each channel of the latent images, where a VAE has them, count."""
    precision: dict[str, str]
    """What is built of a VAE, where that is to be judged by its configuration."""
    guidance_embedding: bool = False
    """The recipe says a guidance scale for the denoiser to be built with."""
    scheduler_changes: dict[str, Any] = field(default_factory=dict)
    """What the recipe lays over the model's ``scheduler_config.json``."""
    embeddings: tuple[Embedding, ...] = ()
    """In the order of their numbers."""
