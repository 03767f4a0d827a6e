"""Python files of extensions are compiled each time they are imported.

Python takes the code that it has kept of a file for the file's own where size and time are the same. Keys go by content, and
so must what is run: an edit that keeps both, as copying tools make, would be in the key and not in what is built.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import PathEntryFinder


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Of the source, and nothing is kept."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def import_uncached(folders: Sequence[str]) -> None:
    """From now on, import what lies anywhere in these folders so."""
    find = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES))

    def hook(path: str) -> PathEntryFinder:
        if not any(path == folder or path.startswith(folder + os.sep) for folder in folders):
            raise ImportError  # the next hook's
        return find(path)

    sys.path_hooks.insert(0, hook)
