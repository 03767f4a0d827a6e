"""The components of one pipeline, and the way through them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.modeling.checkpoint import read_config
from sdbuild.verify.artifact import Made
from sdbuild.verify.drawing import Drawing, Run, arbitrary_condition, condition, denoise, tokenize

PROMPTS = {
    "negative prompt": "blurry, low quality",
    "prompt": "a large red circle on a blue background",
    "empty prompt": "",
    "scene": "a photograph of an astronaut riding a horse on the moon, 35mm, golden hour",
    "long prompt": "an oil painting of a lighthouse above a stormy sea, gulls in the wind, " * 8,
}
"""What text encoders are given, by name: the first two are those of the drawing, the last is longer than they take."""

_DRAWN = ("negative prompt", "prompt")


@dataclass(frozen=True, kw_only=True)
class Subject(Made):
    """A component in its pipeline, and its original.

    Attributes:
        kind: of `sdbuild.modeling.components`.
        config: its ``config.json``.
        weights: the folder of its weight files; None where the original is not run.
        tokenizer: of a text encoder: the folder of ``vocab.json`` and ``merges.txt``.
    """

    kind: str
    config: Path
    weights: Path | None = None
    tokenizer: Path | None = None


Open = Callable[[Subject], Run]
"""Opens the network of a component; it is let go before the next one is opened."""


@dataclass(frozen=True)
class Pipeline:
    """What is built of a pipeline, in the order it runs, and what to draw with it."""

    subjects: Sequence[Subject]
    drawing: Drawing

    @cached_property
    def text_encoders(self) -> list[Subject]:
        """One, or the two of SDXL."""
        return [subject for subject in self.subjects if subject.kind.startswith("clip_text")]

    def find(self, kind: str) -> Subject | None:
        """The component of a kind, by the beginning of its name."""
        return next((subject for subject in self.subjects if subject.kind.startswith(kind)), None)

    @property
    def draws(self) -> bool:
        """Whether it has all that an image takes."""
        return bool(self._speaks and self.find("vae_decoder"))

    @cached_property
    def _speaks(self) -> bool:
        """Whether the UNet's text encoders are all there."""
        unet = self.find("unet")
        if unet is None or not self.text_encoders:
            return False
        widths = [read_config(subject.config).get("hidden_size", 512) for subject in self.text_encoders]
        return bool(sum(widths) == _context_width(read_config(unet.config)))

    def tokens(self, subject: Subject, prompt: str) -> Array:
        """What a text encoder takes for a prompt, float32 [1, tokens]."""
        assert subject.tokenizer is not None
        return tokenize(subject.tokenizer, prompt, self.drawing.tokens, second=subject is not self.text_encoders[0])

    def latents(self, open_network: Open) -> Array | None:
        """The drawing as a latent image [1, channels, h, w], divided by the VAE's scale; None without a UNet."""
        unet = self.find("unet")
        if unet is None:
            return None
        conditions = self._conditions(unet, open_network)
        return denoise(open_network(unet), conditions, self.drawing) / np.float32(self.drawing.vae_scale)

    def _conditions(self, unet: Subject, open_network: Open) -> list[Array]:
        xl = unet.kind == "unet_xl"
        if self._speaks:
            return condition([self._encode(each, open_network(each)) for each in self.text_encoders], self.drawing, xl)
        config = read_config(unet.config)
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"] if xl else None
        return arbitrary_condition(self.drawing, _context_width(config), pooled)

    def _encode(self, subject: Subject, run: Run) -> list[list[Array]]:
        return [run(name, [self.tokens(subject, PROMPTS[name])]) for name in _DRAWN]

    def image(self, open_network: Open) -> Array:
        """The drawing, [1, 3, height, width] in [-1, 1], for a pipeline that `draws`."""
        latents, decoder = self.latents(open_network), self.find("vae_decoder")
        assert latents is not None
        assert decoder is not None
        return open_network(decoder)("drawing", [latents])[0]


def _context_width(unet: Mapping[str, Any]) -> int:
    """What a UNet attends to; diffusers' default where its configuration is silent."""
    width: int = unet.get("cross_attention_dim", 1280)
    return width
