"""The models of a bundle, called as the Swift package calls them. Arrays go in and out, float32."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from sdbuild.arrays import Array
from sdbuild.errors import UserError
from sdbuild.generate.bundle import Bundle
from sdbuild.generate.tokenizer import END, Tokenizer, Tokens
from sdbuild.networks import Chain, Machine, open_network
from sdbuild.wiring import Part


class BundleBackend:
    """What computes a pipeline's networks from a bundle."""

    def __init__(self, bundle: Bundle, machine: Machine) -> None:
        """Open the tokenizer. Models are opened when they are used.

        Raises:
            UserError: the tokenizer's files are missing or damaged, or lack what a text encoder's prompts are filled up with.
        """
        self._bundle, self._machine = bundle, machine
        self._tokenizer = Tokenizer.read(bundle.resources)
        for part in bundle.facts.text_encoders:
            if part.padding and part.padding not in self._tokenizer:
                raise UserError(
                    f"{bundle.resources}: {part.name} fills prompts up with {part.padding!r}, which is no token of vocab.json; "
                    "build the bundle again"
                )

    def read(self, part: Part, text: str) -> Tokens:
        """A prompt as the app's tokenizer reads it for a text encoder."""
        return self._tokenizer(text, self._bundle.facts.tokens, part.padding or END)

    def tokenize(self, part: Part, text: str) -> Array:
        """Its token IDs, float32 [1, tokens]."""
        return np.array([self.read(part, text).ids], np.float32)

    @contextmanager
    def network(self, part: Part) -> Iterator["BundleNetwork"]:
        """Open the models of a part."""
        network = BundleNetwork(
            part, open_network([self._bundle.model(name) for name in part.models], self._machine), self._machine
        )
        try:
            yield network
        finally:
            network.close()


class BundleNetwork:
    """The models of a part, open until `close`."""

    def __init__(self, part: Part, chain: Chain, machine: Machine) -> None:
        """Take them."""
        self._part, self._chain, self._machine = part, chain, machine

    def __call__(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Run. Raises UserError for an overflow, and for an input that is missing."""
        ports = self._chain.inputs
        results = self._chain(
            {name: _shaped(array, ports[name].shape) for name, array in given.items() if name in ports}
        )
        for port, signal in self._part.outputs.items():
            if port in results and signal != "verdict":
                _check_finite(" and ".join(self._part.models), results[port], self._machine)
        return results

    def shape(self, signal: str) -> tuple[int, ...]:
        """Of what the part takes as a signal; 1 where the model leaves it open. Raises UserError if it takes none."""
        ports, port = self._chain.inputs, self._part.input(signal)
        if port not in ports:
            raise UserError(f"{' and '.join(self._part.models)}: takes no {signal}")
        return tuple(size or 1 for size in ports[port].shape)

    def close(self) -> None:
        """Let go of the models, though a name for this may live on."""
        self._chain = Chain([])


def _shaped(value: Array, shape: Sequence[int | None]) -> Array:
    """The array as a model wants it: some of SDXL take time_ids in one row, [12]. What doesn't fit is left to the model."""
    sizes = [size or 1 for size in shape]
    fits = len(shape) != value.ndim and None not in shape and math.prod(sizes) == value.size
    return value.reshape(sizes) if fits else value


def _check_finite(name: str, values: Array, machine: Machine) -> None:
    """Raise UserError if a model gave infinities or what comes of them: the image would be black."""
    if not np.isfinite(values).all():
        why = (
            "damaged weights" if machine.precision == "float32" else "overflows half precision, as it would on a device"
        )
        raise UserError(f"{name}: gives numbers that are not finite ({why})")
