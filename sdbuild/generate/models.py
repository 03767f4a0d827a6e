"""The models of a bundle, called as the Swift package calls them. Arrays go in and out, float32."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sdbuild.arrays import Array
from sdbuild.coreml.runtime import Model
from sdbuild.errors import UserError
from sdbuild.generate.bundle import Bundle
from sdbuild.generate.tokenizer import PADDING, Tokenizer, Tokens
from sdbuild.networks import Machine, open_network

Condition = Mapping[str, Array]
"""What the UNet takes beside the latent image and the time, for one image."""

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_CHUNKS = ("UnetChunk1", "UnetChunk2")


class UNet:
    """The UNet, whole or in two chunks, for whatever batch it was built."""

    def __init__(self, bundle: Bundle, machine: Machine) -> None:
        """Load it. As in the app, chunks go before a whole one."""
        self._machine = machine
        names = _CHUNKS if bundle.has(*_CHUNKS) else ("Unet",)
        self._network = open_network([bundle.model(name) for name in names], machine)
        self._batch = self._network.inputs["sample"].shape[0] or 1

    def predict(self, sample: Array, time: float, conditions: Sequence[Condition]) -> list[Array]:
        """The noise in one latent image [1, channels, h, w] under each of the conditions, of that shape, too."""
        results: list[Array] = []
        for start in range(0, len(conditions), self._batch):
            rows = [conditions[min(start + row, len(conditions) - 1)] for row in range(self._batch)]
            noise = self._run(
                {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
                | {"sample": np.repeat(sample, self._batch, 0), "timestep": np.full(self._batch, time, np.float32)}
            )
            results += np.split(noise, self._batch)
        return results[: len(conditions)]

    def _run(self, values: dict[str, Array]) -> Array:
        outputs = self._network(
            {name: _shaped(values[name], port.shape) for name, port in self._network.inputs.items()}
        )
        noise = outputs["noise_pred"] if "noise_pred" in outputs else [*outputs.values()][-1]
        check_finite("Unet", noise, self._machine)
        return noise


def _shaped(value: Array, shape: Sequence[int | None]) -> Array:
    """The array as a model wants it: some of SDXL take time_ids in one row, [12]."""
    return value if len(shape) == value.ndim or None in shape else value.reshape([size or 1 for size in shape])


class TextEncoders:
    """One text encoder, or two whose results are put side by side."""

    def __init__(self, bundle: Bundle, machine: Machine, sizes: tuple[int, int] = (0, 0)) -> None:
        """Open the tokenizer and say which models there are; each is loaded when it is used, and freed.

        ``sizes``, height and width, is what the UNet of SDXL is told of the original image and of the one to draw.
        """
        self._bundle, self._machine, self._sizes = bundle, machine, sizes
        self._tokenizer = Tokenizer.read(bundle.resources)
        self._paths = {name: bundle.model(name) for name in (PADDING if bundle.xl else ["TextEncoder"])}

    def encode(self, prompts: Sequence[str]) -> tuple[list[Condition], list[list[str]]]:
        """The condition of each prompt, and what the user should know about how it was read."""
        tokens = {
            name: [self._tokenizer(prompt, self._bundle.tokens, PADDING[name]) for prompt in prompts]
            for name in self._paths
        }
        outputs = [self._run(self._paths[name], each) for name, each in tokens.items()]
        hidden = "hidden_embeds" if self._bundle.xl else "last_hidden_state"
        conditions = [
            {"encoder_hidden_states": _states(np.concatenate([each[hidden] for each in parts], -1))}
            for parts in zip(*outputs, strict=True)
        ]
        if self._bundle.xl:
            # The picture's size, its upper left corner, and the size wanted: each height before width.
            times = np.array([[*self._sizes, 0, 0, *self._sizes]], np.float32)
            for condition, last in zip(conditions, outputs[-1], strict=True):
                condition |= {"time_ids": times, "text_embeds": last["pooled_outputs"]}
        return list(conditions), [_notes(each) for each in tokens["TextEncoder"]]

    def _run(self, path: Path, prompts: Sequence[Tokens]) -> list[dict[str, Array]]:
        """Load a text encoder, and free it on return."""
        model = self._machine.load(path)
        (port,) = model.inputs
        return [model.predict({port: np.array([tokens.ids], np.float32)}) for tokens in prompts]


def _notes(tokens: Tokens) -> list[str]:
    notes = []
    if tokens.dropped:
        notes.append(f"the prompt is too long, cut off: {tokens.dropped}")
    if tokens.unknown:
        unknown = " ".join(map(repr, tokens.unknown))
        notes.append(f"the app's tokenizer does not know, and reads as the prompt's end: {unknown}")
    return notes


def _states(hidden: Array) -> Array:
    """[1, tokens, D] → [1, D, 1, tokens]."""
    return hidden.transpose(0, 2, 1)[:, :, None]


class Decoder:
    """From a latent image to pixels."""

    def __init__(self, bundle: Bundle, machine: Machine) -> None:
        """Load it."""
        self._scale, self._machine = bundle.vae_scale, machine
        self._model = machine.load(bundle.model("VAEDecoder"))

    def decode(self, latents: Array) -> Array:
        """[1, channels, h, w] → uint8 [H, W, 3]. Raises UserError for an overflow."""
        image = _only(self._model, latents / self._scale)
        check_finite("VAEDecoder", image, self._machine)
        pixels: Array = np.round(np.clip(image[0] / 2 + 0.5, 0, 1) * 255).astype(np.uint8)
        return pixels.transpose(1, 2, 0)


class Encoder:
    """From pixels to the distribution of a latent image."""

    def __init__(self, bundle: Bundle, machine: Machine) -> None:
        """Load it."""
        self._machine = machine
        self._model = machine.load(bundle.model("VAEEncoder"))

    def encode(self, pixels: Array) -> tuple[Array, Array]:
        """uint8 [H, W, 3] → mean and standard deviation [1, channels, h, w]. Raises UserError for an overflow."""
        image = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        moments = _only(self._model, image)
        check_finite("VAEEncoder", moments, self._machine)
        mean, log_variance = np.split(moments, 2, axis=1)
        return mean, np.exp(0.5 * np.clip(log_variance, -30, 20))


class SafetyChecker:
    """Tells pictures that should not be shown."""

    def __init__(self, bundle: Bundle, machine: Machine) -> None:
        """Load it."""
        self._machine = machine
        self._model = machine.load(bundle.model("SafetyChecker"))

    def is_safe(self, pixels: Array) -> bool:
        """Whether a picture, uint8 [H, W, 3], may be shown. Raises UserError for an overflow.

        As the app asks: the picture is squeezed into the model's square and normalised by the mean and the deviation of
        ImageNet (not CLIP's, as diffusers does), and the image that the model would blank is zeros.
        """
        *_, height, width = self._shape("clip_input")
        seen = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS), np.float32) / 255
        values: dict[str, Array] = {
            "clip_input": ((seen - _IMAGENET_MEAN) / _IMAGENET_DEVIATION).transpose(2, 0, 1)[None],
            "images": np.zeros(self._shape("images"), np.float32),
            "adjustment": np.zeros(1, np.float32),
        }
        outputs = self._model.predict(values)
        if "concept_scores" in outputs:
            check_finite("SafetyChecker", outputs["concept_scores"], self._machine)
        return not outputs["has_nsfw_concepts"].any()

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(size or 1 for size in self._model.inputs[name].shape)


def _only(model: Model, value: Array) -> Array:
    """Run a model with one input and one output, whatever they are called."""
    (port,) = model.inputs
    (output,) = model.predict({port: value}).values()
    return output


def check_finite(name: str, values: Array, machine: Machine) -> None:
    """Raise UserError if a model gave infinities or what comes of them: the picture would be black."""
    if not np.isfinite(values).all():
        why = (
            "damaged weights" if machine.precision == "float32" else "overflows half precision, as it would on a device"
        )
        raise UserError(f"{name}: gives numbers that are not finite ({why})")
