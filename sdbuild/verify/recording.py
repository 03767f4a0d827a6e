"""What PyTorch's originals are given and give while an image is generated: the cases that artifacts are compared with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from sdbuild.arrays import Array
from sdbuild.flow.backend import call, held
from sdbuild.flow.conditions import encode
from sdbuild.flow.latents import decode
from sdbuild.memory import return_freed_blocks
from sdbuild.modeling.checkpoint import read_config
from sdbuild.networks import Network
from sdbuild.verify.artifact import telling_of
from sdbuild.verify.cases import Case, Cases
from sdbuild.verify.images import looked_at, synthetic_image
from sdbuild.verify.pipeline import Pipeline
from sdbuild.verify.recorder import Recorder
from sdbuild.verify.reference import Reference
from sdbuild.verify.tokenizer import tokenize
from sdbuild.wiring import Part

_DENOISER_TIMES = 4
"""At how many times of the image artifacts repeat the denoiser's calls, from the first to the last."""


class Originals:
    """The backend of PyTorch's modules, and of the library's tokenizer."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Take the components."""
        self._pipeline = pipeline

    def tokenize(self, part: Part, text: str) -> Array:
        """Token IDs, float32 [1, tokens]."""
        folder = self._pipeline.subject(part).tokenizer
        assert folder is not None
        return tokenize(folder, text, self._pipeline.facts.tokens, part.padding)

    @contextmanager
    def network(self, part: Part) -> Iterator[Network]:
        """The original of a component; what it raises names it."""
        return_freed_blocks()
        subject = self._pipeline.subject(part)
        assert subject.weights is not None
        with telling_of(subject.name):
            original = Reference(subject.kind, subject.config, subject.weights, subject.options, subject.overlays)

        def run(given: Mapping[str, Array]) -> dict[str, Array]:
            with telling_of(subject.name):
                return dict(zip(subject.outputs, original([given[port] for port in subject.inputs]), strict=True))

        with held(run) as network:
            yield network


def run_originals(pipeline: Pipeline, tick: Callable[[], None]) -> dict[str, Cases]:
    """The cases of every component, by their names.

    Text encoders get prompts; the denoiser the latent images on the way to an image, as the original denoises them, at several
    times (and normal numbers for a prompt, if its text encoders are not built); the VAE what came of that, and a synthetic
    image; the safety checker the same two images. ``tick`` is called after each run.

    Raises:
        UserError: weights that cannot be read, do not fit their configuration, or give infinities.
    """
    recorder, facts = Recorder(Originals(pipeline), tick), pipeline.facts
    encoded = dict(zip(pipeline.prompts, encode(recorder, facts, list(pipeline.prompts.values())), strict=False))
    latents = decoded = None
    if facts.denoiser is not None:
        with recorder.network(facts.denoiser) as network:
            latents = pipeline.latents(network, [encoded[name] for name in pipeline.prompted if name in encoded])
    image = synthetic_image(facts.height, facts.width)
    if facts.decoder is not None:
        mean = _encoded(pipeline, facts.decoder, image)
        with recorder.network(facts.decoder) as network:
            if latents is not None:
                decoded = decode(network, facts.decoder, latents, facts.vae_scale)
            call(network, facts.decoder, {"latents": mean})
    images = [image] if decoded is None else [decoded, image]
    if facts.encoder is not None:
        with recorder.network(facts.encoder) as network:
            for each in images:
                call(network, facts.encoder, {"image": each})
    if facts.checker is not None:
        config = read_config(pipeline.subject(facts.checker).config)
        with recorder.network(facts.checker) as network:
            for each in images:
                call(network, facts.checker, looked_at(each, config.get("vision_config", {}).get("image_size", 224)))
    return {part.name: _named(pipeline, part, recorder) for part in facts.parts}


def _encoded(pipeline: Pipeline, decoder: Part, image: Array) -> Array:
    """An image's mean latent: the library's VAE has both halves, and the one that is not built serves here all the same."""
    subject = pipeline.subject(decoder)
    assert subject.weights is not None
    return_freed_blocks()
    scale = {"vae_scale": pipeline.facts.vae_scale}
    other = Reference("vae_encoder", subject.config, subject.weights, scale)
    return other([image])[0][:, : pipeline.facts.latent_channels]


def _named(pipeline: Pipeline, part: Part, recorder: Recorder) -> Cases:
    """The recorded calls of a part by the names of cases; of the denoiser a few, from the first to the last."""
    calls = recorder.calls[part.name]
    if part.role == "text_encoder":
        return dict(zip(pipeline.prompts, calls, strict=True))
    if part.role != "denoiser":
        return dict(zip(["generated image", "synthetic image"][-len(calls) :], calls, strict=True))
    port = part.input("time")
    assert port is not None
    return _of_denoiser(calls, port, pipeline.facts.batch, pipeline.generation.guided)


def _of_denoiser(calls: Sequence[Case], time: str, batch: int, guided: bool) -> Cases:
    """Cases of calls at `_DENOISER_TIMES` times, from the first call to the last; ``time`` is the port that takes them.

    Rows of a batch do not depend on each other. So where it has both halves of guidance, a case joins the first of one call
    and the second of the next: each time is seen, each half at early times and at late ones, in half as many runs. Without
    guidance both rows are the prompt's, and joined all the same.
    """
    halves = (", unguided", ", guided") if guided else ("", "")
    found: dict[str, Case] = {}
    for index, each in enumerate(calls):
        half = halves[index % 2] if batch == 1 and guided else ""
        found[f"{each.inputs[time][0]:g}{half}"] = each
    names = list(found)
    chosen = list(dict.fromkeys(names[round(at)] for at in np.linspace(0, len(names) - 1, _DENOISER_TIMES)))
    if batch == 1:
        return {f"timestep {name}": found[name] for name in chosen}
    pairs = zip(chosen[::2], [*chosen[1::2], chosen[-1]], strict=False)
    return {f"timestep {one}{halves[0]}; {other}{halves[1]}": _joined(found[one], found[other]) for one, other in pairs}


def _joined(*cases: Case) -> Case:
    """The first row of the first case, the second of the second."""

    def rows(arrays: Sequence[Array]) -> Array:
        return np.concatenate([array[row : row + 1] for row, array in enumerate(arrays)])

    inputs, outputs = (
        {port: rows([each[port] for each in given]) for port in given[0]}
        for given in ([case.inputs for case in cases], [case.outputs for case in cases])
    )
    return Case(inputs, outputs)


def count_runs(pipeline: Pipeline) -> int:
    """How many runs of networks `run_originals` takes."""
    facts, runs = pipeline.facts, 0
    for part in facts.parts:
        if part is facts.denoiser:
            runs += pipeline.denoiser_runs()
        elif part in facts.text_encoders:
            runs += len(pipeline.prompts)
        else:
            runs += 2 if facts.denoiser is not None and facts.decoder is not None else 1
    return runs
