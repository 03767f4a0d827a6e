"""Who computes the networks of a pipeline, and how one of them is called."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sdbuild.arrays import Array
from sdbuild.errors import UserError
from sdbuild.networks import Network
from sdbuild.wiring import Part

Signals = Mapping[str, Array]
"""Arrays by what they are, in the words of `sdbuild.wiring.SIGNALS`."""


class Backend(Protocol):
    """A bundle's models, the originals in PyTorch, what a stage wrote; or a recorder around one of these."""

    def network(self, part: Part) -> AbstractContextManager[Network]:
        """Open the network of a part, and let go of it at the context's end."""

    def tokenize(self, part: Part, text: str) -> Array:
        """What a text encoder takes for a prompt: token IDs, float32 [1, tokens]."""


def call(network: Network, part: Part, given: Signals) -> dict[str, Array]:
    """Run a network on signals; gives those that come of it.

    Raises:
        UserError: the network takes something else, too.
    """
    return outputs_of(part, network(inputs_of(part, given)))


def inputs_of(part: Part, given: Signals) -> dict[str, Array]:
    """The arrays by port for what a part takes of the signals; what is not there is left out."""
    return {port: given[signal] for port, signal in part.inputs.items() if signal in given}


def outputs_of(part: Part, results: Mapping[str, Array]) -> dict[str, Array]:
    """The signals among what a network gave by port. Raises UserError if one is not there."""
    if missing := [port for port in part.outputs if port not in results]:
        raise UserError(f"{part.name}: does not give {', '.join(missing)}; it gives {', '.join(results) or 'nothing'}")
    return {signal: results[port] for port, signal in part.outputs.items()}


@contextmanager
def held(network: Network) -> Iterator[Network]:
    """A network that is let go at the context's end, though a name for what was yielded may live on."""
    holder = [network]
    del network
    try:
        yield lambda given: holder[0](given)
    finally:
        holder.clear()
