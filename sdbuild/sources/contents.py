"""What weight files are, from their beginnings: looked at before anything heavy is done, and before a name is believed."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from sdbuild.errors import SourceError
from sdbuild.sources.base import Source, SourceFile, shown
from sdbuild.sources.header import looks_like_header, read_header
from sdbuild.sources.leftovers import WEIGHT_TYPES, check_names, type_problem
from sdbuild.standins import ENOUGH, stand_in, text_instead

_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How torch's zip archives and plain pickles begin."""


def opening(file: Path) -> bytes:
    """The first `ENOUGH` bytes of a file on this machine. Raises UserError: it can't be read."""
    try:
        with file.open("rb") as content:
            return content.read(ENOUGH)
    except OSError as error:
        raise SourceError(f"{file}: can't be read: {error.strerror}") from None


def are_safetensors(where: str, name: str, start: bytes) -> bool:
    """Whether a weight file is one of safetensors, whatever it is called; else it may be a pickle.

    ``where`` is for messages; ``name`` is the file's; ``start`` are its first bytes, `ENOUGH` of them or all.

    Raises:
        UserError: it is neither, or a pickle under the name of safetensors.
    """
    if name.endswith(".safetensors") and start.startswith(_PICKLES):
        raise SourceError(
            f"{where}: a pickle under the name of safetensors, and loading a pickle can run code that its author hid in it; "
            "get the weights as safetensors"
        )
    if name.endswith(".safetensors") or looks_like_header(start):
        return True  # what else is wrong with it, reading the header tells
    if wrong := stand_in(start) or (None if start.startswith(_PICKLES) else text_instead(start)):
        raise SourceError(f"{where} {wrong}")
    return False


def check_weights(source: Source, files: Iterable[SourceFile]) -> None:
    """The beginnings of a model's weight files: of safetensors the names, types and places of all tensors.

    Raises:
        UserError: a file that is not what it is called, or is damaged; a tensor in two files, or of a kind that no model takes;
            a weight in numbers that can't be one.
    """
    seen: dict[str, str] = {}
    for file in files:
        where, read = f"{source.name}: {file.path}", partial(source.read_start, file.path)
        if not are_safetensors(where, file.name, read(ENOUGH)):
            continue
        header = read_header(where, file.size, read)
        check_names(where, header)
        for name, entry in header.items():
            if name.endswith((".weight", ".bias")) and entry.dtype not in WEIGHT_TYPES:
                raise SourceError(type_problem(where, name, entry.dtype))
            if name in seen:
                raise SourceError(f"{where}: {shown(name)} is in {seen[name]} as well: {OF_TWO_SAVES}")
            seen[name] = file.name


OF_TWO_SAVES = "the files are not of one save; remove the older ones, or save the model into an empty folder"
"""What to say of shards that hold one tensor twice."""
