"""Where a source has a learned embedding: textual inversions come as single files, alone in a repository or beside images."""

from sdbuild.errors import SourceError
from sdbuild.sources.base import Source, SourceFile
from sdbuild.sources.leftovers import listed

_KINDS = (".safetensors", ".pt", ".bin")
"""The first that there is is taken."""


def find_embedding(source: Source, path: str | None) -> SourceFile:
    """The file of an embedding: the one at ``path``, or the only one right in the source.

    Raises:
        SourceError: there is none, or there are several.
    """
    if path is not None:
        if path in source.files:
            return source.files[path]
        there = [each for each in source.files if each.endswith(_KINDS)]
        raise SourceError(f"{source.name}: there is no {path}; it has {listed(there) or 'no embedding'}")
    for kind in _KINDS:
        found = [file for each, file in source.files.items() if each.endswith(kind) and "/" not in each]
        if len(found) > 1:
            raise SourceError(
                f"{source.name}: {listed([file.path for file in found])} may all be embeddings; name one: "
                f"{source.name}/{found[0].path}"
            )
        if found:
            return found[0]
    raise SourceError(f"{source.name}: no embedding in it: there is no file called {' or '.join(_KINDS)}")
