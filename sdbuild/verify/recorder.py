"""What networks are given and give while something runs them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sdbuild.arrays import Array
from sdbuild.flow.backend import Backend
from sdbuild.networks import Network
from sdbuild.verify.cases import Case
from sdbuild.wiring import Part


class Recorder:
    """A backend that keeps each call of another one's networks."""

    def __init__(self, backend: Backend, tick: Callable[[], None]) -> None:
        """Record ``backend``; ``tick`` is called after each run of a network."""
        self.calls: dict[str, list[Case]] = {}
        """In their order, by the names of parts."""
        self._backend, self._tick = backend, tick

    def tokenize(self, part: Part, text: str) -> Array:
        """As the backend does it; not recorded."""
        return self._backend.tokenize(part, text)

    @contextmanager
    def network(self, part: Part) -> Iterator[Network]:
        """The backend's network, which is recorded."""
        with self._backend.network(part) as network:

            def run(given: Mapping[str, Array]) -> Mapping[str, Array]:
                results = network(given)
                self.calls.setdefault(part.name, []).append(Case(given, results))
                self._tick()
                return results

            yield run
