"""The image that the bundle generates, compared with the one that PyTorch generates."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.storage import Precision
from sdbuild.flow.backend import held
from sdbuild.flow.conditions import encode
from sdbuild.flow.latents import decode, shown
from sdbuild.memory import return_freed_blocks
from sdbuild.networks import Network
from sdbuild.verify.artifact import Artifact, telling_of
from sdbuild.verify.cases import Cases
from sdbuild.verify.metrics import psnr
from sdbuild.verify.pipeline import Pipeline
from sdbuild.wiring import Part


class Shipped:
    """The backend of what the last stage wrote, and of the token IDs that the originals were given."""

    def __init__(
        self, pipeline: Pipeline, cases: Mapping[str, Cases], precision: Precision, tick: Callable[[], None]
    ) -> None:
        """``cases`` are those of the text encoders' originals; ``tick`` is called after each run of a network."""
        self._pipeline, self._cases, self._precision, self._tick = pipeline, cases, precision, tick

    def tokenize(self, part: Part, text: str) -> Array:
        """Token IDs of one of the pipeline's prompts, float32 [1, tokens]."""
        (name,) = (name for name, prompt in self._pipeline.prompts.items() if prompt == text)
        (ids,) = self._cases[part.name][name].inputs.values()
        return ids

    @contextmanager
    def network(self, part: Part) -> Iterator[Network]:
        """What ships of a component; what it raises names the component and the stage."""
        return_freed_blocks()
        subject = self._pipeline.subject(part)
        stage, paths = list(subject.stages.items())[-1]
        with telling_of(f"{subject.name}: {stage}"):
            artifact = Artifact(paths, subject.outputs, self._precision)

        def run(given: Mapping[str, Array]) -> dict[str, Array]:
            with telling_of(f"{subject.name}: {stage}"):
                outputs = artifact(given)
            self._tick()
            return outputs

        with held(run) as network:
            yield network


def generate(pipeline: Pipeline, cases: Mapping[str, Cases], precision: Precision, tick: Callable[[], None]) -> float:
    """dB of the image that the models which ship generate, compared with that among the cases of the decoder's original.

    ``pipeline`` has all that an image takes, ``cases`` are those of text encoders and decoder; ``tick`` is called after each
    of `count_generating` runs.

    Raises:
        UserError: something cannot be read or run; the message names the component and the stage.
    """
    decoder = pipeline.facts.decoder
    assert decoder is not None
    (original,) = cases[decoder.name]["generated image"].outputs.values()
    return psnr(shown(original), shown(shipped_image(pipeline, cases, precision, tick)), peak=1.0)


def shipped_image(
    pipeline: Pipeline, cases: Mapping[str, Cases], precision: Precision, tick: Callable[[], None]
) -> Array:
    """The image that the models which ship generate, [1, 3, height, width] in [-1, 1]; see `generate`."""
    backend, facts = Shipped(pipeline, cases, precision, tick), pipeline.facts
    assert facts.denoiser is not None
    assert facts.decoder is not None
    encoded = encode(backend, facts, [pipeline.prompts[name] for name in pipeline.prompted])
    with backend.network(facts.denoiser) as network:
        latents = pipeline.latents(network, encoded)
    with backend.network(facts.decoder) as network:
        return decode(network, facts.decoder, latents, facts.vae_scale)


def count_generating(pipeline: Pipeline) -> int:
    """How many runs of networks `generate` takes."""
    return len(pipeline.prompted) * len(pipeline.facts.text_encoders) + pipeline.denoiser_runs() + 1
