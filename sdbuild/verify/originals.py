"""What the PyTorch originals give for the inputs that a drawing meets: the cases that artifacts are held against."""

from collections.abc import Callable, Sequence

import numpy as np

from sdbuild.arrays import Array
from sdbuild.modeling.checkpoint import read_config
from sdbuild.verify.artifact import telling_of
from sdbuild.verify.cases import Case, Cases
from sdbuild.verify.drawing import Run, looked_at, picture, unet_calls
from sdbuild.verify.pipeline import PROMPTS, Pipeline, Subject
from sdbuild.verify.reference import Reference

_UNET_CASES = 4
"""How many calls of the drawing's UNet artifacts repeat, from the first to the last."""


def run_originals(pipeline: Pipeline, tick: Callable[[], None]) -> dict[str, Cases]:
    """The cases of every component, by their names.

    Text encoders get prompts; the UNet the latent images of a drawing, as the original UNet denoises them, at several of its
    timesteps (and normal numbers for a prompt, if its text encoders are not built); the VAE what came of that, and a
    picture; the safety checker the same two images. ``tick`` is called after each run.

    Raises:
        UserError: weights that cannot be read, do not fit their configuration, or give infinities.
    """
    cases: dict[str, Cases] = {subject.name: {} for subject in pipeline.subjects}

    def open_original(subject: Subject) -> Run:
        assert subject.weights is not None
        with telling_of(subject.name):
            original = Reference(subject.kind, subject.config, subject.weights, pipeline.drawing.vae_scale)

        def run(name: str, inputs: Sequence[Array]) -> list[Array]:
            with telling_of(subject.name):
                outputs = original(inputs)
            cases[subject.name][name] = Case(inputs, outputs)
            tick()
            return outputs

        return run

    for encoder in pipeline.text_encoders:
        run = open_original(encoder)
        for name, prompt in PROMPTS.items():
            run(name, [pipeline.tokens(encoder, prompt)])
    latents = pipeline.latents(lambda subject: _recall(cases[subject.name]) or open_original(subject))
    for subject in pipeline.subjects:
        if subject.kind.startswith("unet"):
            cases[subject.name] = _spread(cases[subject.name])
    decoded = _run_vae(pipeline, open_original, latents)
    checker = pipeline.find("safety_checker")
    if checker is not None:
        _run_checker(pipeline, checker, open_original(checker), decoded)
    return cases


def _recall(cases: Cases) -> Run | None:
    """A network that gives again what it gave in these cases; None for no cases."""
    return (lambda name, _inputs: list(cases[name].outputs)) if cases else None


def _spread(cases: Cases) -> Cases:
    names = list(cases)
    chosen = dict.fromkeys(names[round(at)] for at in np.linspace(0, len(names) - 1, _UNET_CASES))
    return {name: cases[name] for name in chosen}


def _run_vae(pipeline: Pipeline, open_original: Callable[[Subject], Run], latents: Array | None) -> Array | None:
    """The cases of the VAE; returns the drawing as it is decoded, if it is."""
    image, decoded = picture(pipeline.drawing.height, pipeline.drawing.width), None
    decoder, encoder = pipeline.find("vae_decoder"), pipeline.find("vae_encoder")
    if decoder is not None:
        # The library's VAE has both halves: the one that is not built serves here all the same.
        assert decoder.weights is not None
        other = Reference("vae_encoder", decoder.config, decoder.weights, pipeline.drawing.vae_scale)
        run = open_original(decoder)
        if latents is not None:
            (decoded,) = run("drawing", [latents])
        run("picture", [other([image])[0][:, : pipeline.drawing.latent_channels]])
    if encoder is not None:
        run = open_original(encoder)
        if decoded is not None:
            run("drawing", [decoded])
        run("picture", [image])
    return decoded


def _run_checker(pipeline: Pipeline, checker: Subject, run: Run, decoded: Array | None) -> None:
    images = {"picture": picture(pipeline.drawing.height, pipeline.drawing.width)}
    if decoded is not None:
        images = {"drawing": decoded} | images
    size = read_config(checker.config).get("vision_config", {}).get("image_size", 224)
    for name, image in images.items():
        run(name, looked_at(image, size))


def count_runs(pipeline: Pipeline) -> int:
    """How many runs of networks `run_originals` takes."""
    runs = 0
    unet, decoder = pipeline.find("unet"), pipeline.find("vae_decoder")
    for subject in pipeline.subjects:
        if subject is unet:
            runs += unet_calls(pipeline.drawing)
        elif subject in pipeline.text_encoders:
            runs += len(PROMPTS)
        else:
            runs += 2 if unet is not None and decoder is not None else 1
    return runs
