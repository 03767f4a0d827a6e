"""Weight files: as Apple's own writer makes them, and refused where they are not what the program says."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbuild.coreml.blob import BlobError, BlobReader, BlobType, BlobWriter


def test_bytes_equal_those_of_apples_writer(tmp_path: Path) -> None:
    native = pytest.importorskip("coremltools.libmilstoragepython")
    halves, bytes_ = np.arange(77, dtype=np.float16), np.arange(3, dtype=np.uint8)
    theirs = native._BlobStorageWriter(str(tmp_path / "theirs"))
    offsets = [theirs.write_fp16_data(halves.view(np.uint16)), theirs.write_uint8_data(bytes_)]
    del theirs
    with BlobWriter(tmp_path / "ours") as writer:
        assert writer.add(BlobType.FLOAT16, halves.nbytes, [halves[:30], halves[30:]]) == offsets[0]
        assert writer.add(BlobType.UINT8, 3, [bytes_]) == offsets[1]
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(list(BlobType)), st.binary(max_size=300), st.integers(0, 7)), max_size=8))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, blobs: list[tuple[BlobType, bytes, int]]
) -> None:
    path = tmp_path_factory.mktemp("blob") / "weight.bin"
    with BlobWriter(path) as writer:
        offsets = [writer.add(kind, len(content), [content], padding) for kind, content, padding in blobs]
    reader = BlobReader(path)
    for offset, (kind, content, padding) in zip(offsets, blobs, strict=True):
        blob = reader.read(offset)
        assert offset % 64 == 0
        assert (blob.type, bytes(blob.data), blob.padding_bits) == (kind, content, padding)


def test_a_wrong_length_is_a_bug_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="blob 0: 3 bytes given, 4 announced"), BlobWriter(tmp_path / "w") as writer:
        writer.add(BlobType.UINT8, 4, [b"abc"])


def test_what_is_no_weight_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weight.bin"
    with BlobWriter(path) as writer:
        offset = writer.add(BlobType.UINT8, 100, [bytes(100)])
    whole = path.read_bytes()
    for offset_asked, message in ((offset + 64, "no weight record"), (1 << 40, "outside the file"), (-64, "outside")):
        with pytest.raises(BlobError, match=message):
            BlobReader(path).read(offset_asked)
    path.write_bytes(whole[:-1])
    with pytest.raises(BlobError, match=r"ends at 228, the file at 227"):
        BlobReader(path).read(offset)
    for content, message in (
        (b"short", "not a MIL blob storage file of version 2"),
        (b"\1" * 64, "not a MIL blob storage file of version 2"),
        (bytes(64), "it begins with nothing but zeros"),
        (b"", "it is empty, left by an interrupted download"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS, .* run `git lfs pull`"),
    ):
        path.write_bytes(content)
        with pytest.raises(BlobError, match=message):
            BlobReader(path)
    with pytest.raises(BlobError, match="cannot be read"):
        BlobReader(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BlobError, match="no regular file"):
        BlobReader(tmp_path / "pipe")


def test_a_blob_that_was_written_is_compared_with_others(tmp_path: Path) -> None:
    first, second = (np.arange(start, start + 200, dtype=np.uint8) for start in (0, 1))
    with BlobWriter(tmp_path / "w.bin") as writer:
        offset = writer.add(BlobType.UINT8, 200, [first])
        other = writer.add(BlobType.UINT8, 200, [second])
        assert writer.holds(offset, first)
        assert not writer.holds(offset, second)
        assert writer.holds(other, second)
        last = writer.add(BlobType.UINT8, 200, [first])
    reader = BlobReader(tmp_path / "w.bin")
    assert [reader.read(each).data.tobytes() for each in (offset, other, last)] == [
        first.tobytes(),
        second.tobytes(),
        first.tobytes(),
    ]
