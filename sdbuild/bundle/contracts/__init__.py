"""What Apple's Swift package asks of a Resources folder: a file of this folder for each kind of pipeline, found by listing it.

Read off apple/ml-stable-diffusion @e12202c, ``swift/StableDiffusion/pipeline``, and of nothing of sdbuild's: it opens models by
fixed names, looks features up by fixed names (or takes the first of a single one), and passes and reads float32 arrays.
"""

from importlib import import_module

from sdbuild import extensions
from sdbuild.bundle.rules import Pipeline

__path__ = extensions.folders(__name__)


def names() -> list[str]:
    """The contracts there are, in the order of the alphabet; nothing is imported."""
    return extensions.names(__path__)


def find(name: str) -> Pipeline:
    """The contract of a name that `names` has."""
    contract: Pipeline = import_module(f"{__name__}.{name}").CONTRACT
    return contract
