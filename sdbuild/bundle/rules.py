"""What the contracts of pipelines are made of: models, their ports and shapes. The contracts are in ``contracts/``.

A dimension of a shape is a number, a word that stands for the same number all through the folder, a sum or product of
such ("context_1+context_2", "vae_factor*latent_height"), or `ANY`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ANY = "*"
FLOATS = frozenset({"Float16", "Float32"})
FLOAT32 = frozenset({"Float32"})
START, END = "<|startoftext|>", "<|endoftext|>"

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Port:
    """An input or output: ``name`` is None where any will do, ``shape`` where it is not looked at.

    ``dtypes`` are those that an input may declare: Core ML converts the app's float32 to float16, and whole numbers up
    to 2048 survive that. Outputs are always float32. ``why`` is what the app makes of another shape. The app reads the
    shape of an input that is ``probed``, in a chunked model from the first chunk.
    """

    name: str | None
    shape: Shape | None
    dtypes: frozenset[str] = FLOATS
    why: str = "shapes that do not fit each other stop the app"
    probed: bool = False


@dataclass(frozen=True)
class Model:
    """A compiled model ``<name>.mlmodelc``; if ``chunkable``, ``<name>Chunk1`` and ``<name>Chunk2`` serve as well.

    With ``more_outputs`` the app asks for outputs by name and others do no harm. ``overflows`` says that float16
    arithmetic spoils the result.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    required: bool = True
    chunkable: bool = False
    more_outputs: bool = False
    overflows: bool = False


@dataclass(frozen=True)
class Pipeline:
    """The models of a folder, in the order in which their shapes explain each other.

    ``vocabulary`` are the tokens that the tokenizer's files must know; None: there are no such files. ``sizes`` fixes
    words used in shapes, ``choices`` limits them. ``controlled`` is the UNet that takes what ControlNets give.
    ``multilingual`` is what the folder must be when it holds Apple's projection for the system's own text encoder.
    """

    models: tuple[Model, ...]
    vocabulary: tuple[str, ...] | None = (START, END)
    sizes: Mapping[str, int] = field(default_factory=lambda: {"tokens": 77})
    choices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    controlled: Model | None = None
    multilingual: "Pipeline | None" = None
