"""Generate with a bundle: prompt → text encoders → denoiser, step by step → decoder.

One model is in memory at a time, but for the two halves of a chunked denoiser: all prompts are encoded, then all latent
images are generated, then all are decoded, then all are looked at by the safety checker, if there is one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdbuild import __version__
from sdbuild.arrays import Array
from sdbuild.coreml.runtime.storage import Precision
from sdbuild.errors import UsageError, UserError
from sdbuild.flow.conditions import Condition, encode
from sdbuild.flow.denoise import Origin, begin, denoise
from sdbuild.flow.facts import Rng
from sdbuild.flow.latents import decode, encode_image, shown
from sdbuild.flow.noise import Noise
from sdbuild.flow.rehearsal import rehearse
from sdbuild.flow.schedulers import make_scheduler
from sdbuild.generate.backend import BundleBackend
from sdbuild.generate.bundle import Bundle
from sdbuild.generate.foreign import open_bundle
from sdbuild.generate.images import GeneratedImage, Start, read_image
from sdbuild.generate.options import STRENGTH, Options, check_range, check_seed, check_text
from sdbuild.generate.places import name_of
from sdbuild.generate.safety import is_safe
from sdbuild.generate.schedulers import choose_kind, find_scheduler, unread
from sdbuild.generate.tokenizer import Tokens
from sdbuild.generate_variables import MAX_STEPS
from sdbuild.networks import Machine

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is; first with 0."""

SEED = 93
"""What the seed is if nothing is said: that of Apple's tools."""


@dataclass(frozen=True)
class _Plan:
    """What all images of a run have in common, with all defaults in place."""

    options: Options
    steps: int
    guidance: float
    strength: float
    start: Start | None
    scheduler: str | None
    scheduler_name: str
    notes: Sequence[str]

    @property
    def guided(self) -> bool:
        return self.guidance > 1


class Pipeline:
    """A bundle, ready to generate; made by `Pipeline.open`."""

    def __init__(self, bundle: Bundle, names: Mapping[str, str], machine: Machine) -> None:
        """Take a bundle; ``names`` go into the metadata of images."""
        self.bundle = bundle
        self._names = names
        self._machine = machine

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        name: str | None = None,
        variant: str | None = None,
        precision: Precision = "float32",
        device: str | torch.device = "cpu",
        decoded_bytes: int | None = None,
        prediction_type: str | None = None,
        vae_scale: float | None = None,
    ) -> "Pipeline":
        """Open what ``doit build`` made, ``build/<recipe>``, or what others did; see docs/generate.md.

        Args:
            folder: with ``manifest.json`` and ``Resources``; or a Resources folder, a folder laid out as on the hub, or a
                zip, with a manifest or without.
            name: the recipe's, for the metadata of images; None: the folder's.
            variant: likewise; None: there is only one.
            precision: "float32", or "float16" to round as a device does, so that overflow shows.
            device: where torch computes: "cpu", "cuda", "mps".
            decoded_bytes: how many bytes of decoded weights each model may hold at once; None for no limit.
            prediction_type: "epsilon" or "v_prediction", for a bundle without a manifest.
            vae_scale: likewise; None: the family's constant.

        Raises:
            UserError: no bundle there, several, or a damaged one.
        """
        folder = Path(folder)
        names = {"recipe": name or name_of(folder)} | ({"variant": variant} if variant else {})
        bundle = open_bundle(folder, prediction_type, vae_scale)
        return cls(bundle, names, Machine(precision, device, decoded_bytes))

    def generate(
        self,
        prompt: str,
        *,
        seed: int = SEED,
        negative: str = "",
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        rng: Rng = "numpy",
        image: str | Path | None = None,
        strength: float | None = None,
        sizes: str | int | None = None,
        progress: Progress | None = None,
    ) -> GeneratedImage:
        """Generate one image; see `Options` for the arguments, and `generate_all` for more images.

        Raises:
            UserError: an argument out of its range, a bundle that cannot do it, or a device that there is not.
        """
        path = Path(image) if isinstance(image, str) else image
        options = Options(negative, steps, guidance, scheduler, rng, path, strength, sizes)
        return self.generate_all([prompt], [seed], options, progress)[0]

    def generate_all(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int] = (SEED,),
        options: Options | None = None,
        progress: Progress | None = None,
    ) -> list[GeneratedImage]:
        """Generate each prompt with each seed: all of the first prompt, then all of the second.

        An image depends on its own prompt and seed only, not on the others of the run. One that the bundle's safety
        checker finds unsafe is `GeneratedImage.withheld`.

        Raises:
            UserError: an argument out of its range, a bundle that cannot do it, or a device that there is not.
        """
        for prompt in prompts:
            check_text("prompt", prompt)
        for seed in seeds:
            check_seed(seed)
        plan = self._plan(options or Options())
        report = progress or (lambda what, done, total: None)
        wanted = [(index, seed) for index in range(len(prompts)) for seed in seeds]

        report("encode prompts", 0, 1)
        backend, facts = BundleBackend(self.bundle, self._machine), self.bundle.facts
        texts = [*prompts, plan.options.negative] if plan.guided else prompts
        conditions = encode(backend, facts, texts, plan.options.sizes_for(facts.height, facts.width))
        notes = [_notes(backend.read(facts.text_encoders[0], text)) for text in texts]
        latents = self._latents(backend, plan, conditions, wanted, report)
        decoded = self._decode(backend, latents, report)
        images = []
        for (index, seed), pixels, safe in zip(
            wanted, decoded, self._check_safety(backend, decoded, report), strict=True
        ):
            remarks = [*plan.notes, *notes[index], *(notes[-1] if plan.guided else [])]
            metadata = self._metadata(plan, prompts[index], seed)
            shown_pixels = pixels if safe else np.zeros_like(pixels)
            images.append(GeneratedImage(shown_pixels, metadata, tuple(dict.fromkeys(remarks)), withheld=not safe))
        return images

    def _decode(self, backend: BundleBackend, latents: Sequence[Array], report: Progress) -> list[Array]:
        """The pixels of each latent image, uint8 [height, width, 3]."""
        report("decode", 0, len(latents))
        facts, images = self.bundle.facts, list[Array]()
        decoder = self.bundle.needed(facts.decoder, "decoder")
        with backend.network(decoder) as network:
            for latent in latents:
                image = shown(decode(network, decoder, latent, facts.vae_scale)[0])
                images.append(np.round(image * 255).astype(np.uint8).transpose(1, 2, 0))
                report("decode", len(images), len(latents))
        return images

    def _check_safety(self, backend: BundleBackend, images: Sequence[Array], report: Progress) -> list[bool]:
        """Whether each may be shown: all of them, without a safety checker."""
        checker = self.bundle.facts.checker
        if checker is None:
            return [True] * len(images)
        report("check safety", 0, len(images))
        found: list[bool] = []
        with backend.network(checker) as network:
            for image in images:
                found.append(is_safe(network, checker, image))
                report("check safety", len(found), len(images))
        return found

    def _latents(
        self,
        backend: BundleBackend,
        plan: _Plan,
        conditions: Sequence[Condition],
        wanted: Sequence[tuple[int, int]],
        report: Progress,
    ) -> list[Array]:
        """The latent image of each (prompt, seed); guided, the last of ``conditions`` is the negative prompt's."""
        origin, facts = self._origin(backend, plan), self.bundle.facts
        denoiser, latents = self.bundle.needed(facts.denoiser, "denoiser"), list[Array]()
        with backend.network(denoiser) as network:
            for index, seed in wanted:
                what = f"image {len(latents) + 1} of {len(wanted)}, seed {seed}"
                noise, scheduler = Noise(plan.options.rng, seed), self._scheduler(plan.scheduler, plan.steps)
                start = begin(scheduler, noise, facts.latent_shape, plan.steps, origin)
                chosen = [*(conditions[-1:] if plan.guided else []), conditions[index]]
                latents.append(
                    denoise(
                        network,
                        denoiser,
                        facts.batch,
                        scheduler,
                        chosen,
                        plan.guidance,
                        start,
                        noise.generator,
                        report=partial(report, what),
                    )
                )
        return latents

    def check(self, options: Options) -> None:
        """Raise UserError for what this bundle cannot do, without loading a model."""
        self._plan(options)

    def _plan(self, options: Options) -> _Plan:
        """Put the bundle's defaults in."""
        facts = self.bundle.facts
        for part, role in ((next(iter(facts.text_encoders), None), "text encoder"), (facts.denoiser, "denoiser")):
            self.bundle.needed(part, role)
        self.bundle.needed(facts.decoder, "decoder")
        given = {
            "latents",
            "time",
            "sizes",
            *(signal for part in facts.text_encoders for signal in part.outputs.values()),
        }
        taken = facts.denoiser.inputs if facts.denoiser else {}
        if unknown := [port for port, signal in taken.items() if signal not in given]:
            raise UserError(
                f"{self.bundle.resources}: the denoiser takes {', '.join(unknown)}, too, and there is nothing to give it"
            )
        steps = self.bundle.steps if options.steps is None else options.steps
        check_range("steps", steps, 1, min(MAX_STEPS, facts.scheduler.get("num_train_timesteps") or MAX_STEPS))
        guidance = self.bundle.guidance if options.guidance is None else options.guidance
        if self.bundle.built_in is not None and guidance > 1:
            raise UsageError(
                f"guidance={guidance:g}: guidance of {self.bundle.built_in:g} is built into this bundle's UNet, which takes no "
                "other: leave it out, or build with another `guidance_embedding`"
            )
        if options.negative and guidance <= 1:
            raise UsageError(f"negative=: has no effect at guidance {guidance:g}; it must be above 1 for that")
        if options.sizes is not None and not facts.takes_sizes:
            raise UsageError(f"sizes=: only the UNet of SDXL takes sizes, and this bundle is {self.bundle.pipeline}")
        strength = STRENGTH if options.strength is None else options.strength
        start = None
        if options.image is not None:
            if facts.encoder is None:
                raise UsageError(
                    "image=: this bundle has no VAEEncoder to start from an image: add vae_encoder to the recipe's "
                    "`components` and build again"
                )
            if int(steps * strength) < 1:
                raise UsageError(
                    f"strength={strength:g}: of {steps} steps none is left; take more steps, or a strength "
                    f"of at least {1 / steps:.2g}"
                )
            start = read_image(options.image, facts.height, facts.width)
        scheduler = self.bundle.scheduler if options.scheduler is None else find_scheduler(options.scheduler)
        made = self._scheduler(scheduler, steps)
        name = scheduler or type(made).__name__
        notes = [*self.bundle.notes, *unread(made, facts.scheduler)]
        rehearse(made, steps, None if start is None else strength)
        return _Plan(options, steps, guidance, strength, start, scheduler, name, notes)

    def _scheduler(self, name: str | None, steps: int) -> Any:
        facts = self.bundle.facts
        kind = choose_kind(name, facts.scheduler)
        return make_scheduler(kind, facts.scheduler, steps, facts.scheduler_overrides)

    def _origin(self, backend: BundleBackend, plan: _Plan) -> Origin | None:
        if plan.start is None:
            return None
        encoder = self.bundle.needed(self.bundle.facts.encoder, "encoder")
        image = plan.start.pixels.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        with backend.network(encoder) as network:
            mean, deviation = encode_image(network, encoder, image)
        return Origin(mean, deviation, self.bundle.facts.vae_scale, plan.strength)

    def _metadata(self, plan: _Plan, prompt: str, seed: int) -> dict[str, str]:
        metadata = {
            "Software": f"sdbuild {__version__}",
            **self._names,
            "prompt": prompt,
            "negative_prompt": plan.options.negative,
            "seed": str(seed),
            "steps": str(plan.steps),
            "guidance": f"{plan.guidance:g}",
            "scheduler": plan.scheduler_name,
            "rng": plan.options.rng,
            "precision": self._machine.precision,
        }
        if plan.start is not None and plan.options.image is not None:
            metadata |= {
                "image": plan.options.image.name,
                "image_sha256": plan.start.sha256,
                "strength": f"{plan.strength:g}",
            }
        if plan.options.sizes is not None:
            metadata["sizes"] = str(plan.options.sizes)
        return metadata | {
            "bundle_sha256": self.bundle.sha256,
            "models_sha256": json.dumps(dict(self.bundle.models), sort_keys=True),
        }


def _notes(tokens: Tokens) -> list[str]:
    """What the user should know of how a prompt was read."""
    notes = []
    if tokens.dropped:
        notes.append(f"the prompt is too long, cut off: {tokens.dropped}")
    if tokens.unknown:
        unknown = " ".join(map(repr, tokens.unknown))
        notes.append(f"the app's tokenizer does not know, and reads as the prompt's end: {unknown}")
    return notes
