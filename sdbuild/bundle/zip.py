"""Zip a Resources folder in the layout that apps download: ``stem.zip`` holds one folder ``stem`` with the files in it.

The same files give the same bytes: sorted, without dates, owners or permissions of this machine, and stored without
compression. Deflate saves 2 to 6 % of palettized weights (8 % of float16), and its bytes depend on the version of zlib,
of which distributions ship several.
"""

import shutil
import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that the format can hold
_MODE = stat.S_IFREG | 0o644
_UNIX = 3
_BLOCK = 1 << 20


def write_zip(
    folder: Path, path: Path, beside: Sequence[Path] = (), progress: Callable[[int], None] = lambda done: None
) -> None:
    """Write all files below ``folder``, and single files ``beside`` them, to the zip ``path``, named after its stem.

    Args:
        folder: its name does not matter.
        path: ``stem.zip``, the file to write.
        beside: files that go to the top folder, too.
        progress: called with the bytes of content written so far.
    """
    stem = path.name.removesuffix(".zip")
    contents = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    contents |= {file.name: file for file in beside}
    done = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in sorted(contents.items()):
            entry = zipfile.ZipInfo(f"{stem}/{name}", _EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = _MODE << 16
            entry.file_size = file.stat().st_size  # decides on zip64
            with file.open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, _BLOCK)
            done += entry.file_size
            progress(done)
