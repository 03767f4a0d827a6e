"""What the hub lists of a model at a revision. A server may answer anything: nothing of it is used before it was checked."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, ValidationError

from sdbuild.sources.base import SourceFile

MOST_LISTED = 32 << 20
"""Bytes of a listing: one of 100,000 files takes as much."""

_LONGEST_PATH, _LONGEST_NAME = 1024, 255  # in bytes, the latter as file systems have it
_LARGEST = 1 << 50  # bytes of a file


class ListingError(ValueError):
    """An answer that is no listing; the text says where it stops being one."""


def _path(path: str) -> str:
    """The path of a file in a repository, which may become a file's name here."""
    names = path.split("/")
    if len(path.encode()) > _LONGEST_PATH or any(len(name.encode()) > _LONGEST_NAME for name in names):
        raise ValueError("too long")
    if any(name in ("", ".", "..") for name in names) or any(unicodedata.category(each) == "Cc" for each in path):
        raise ValueError("no path inside a repository")
    return path


_Path = Annotated[str, AfterValidator(_path)]
_Sha1 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[StrictInt, Field(ge=0, le=_LARGEST)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Large(_Model):
    sha256: _Sha256
    size: _Size


class _Sibling(_Model):
    rfilename: _Path
    size: _Size | None = None
    git_sha1: _Sha1 | None = Field(default=None, alias="blobId")
    lfs: _Large | None = None


class _Listing(_Model):
    sha: _Sha1
    siblings: list[_Sibling]


def read_listing(answer: bytes) -> tuple[str, dict[str, SourceFile]]:
    """The commit, and its files by path: large ones with the SHA-256 of Git LFS, small ones with git's name of the blob.

    Raises:
        ListingError: not JSON, or with a commit, digest, size or path that none can be, or with a file twice.
    """
    try:
        listing = _Listing.model_validate_json(answer)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"]))
        raise ListingError(where or "no JSON object") from None
    files: dict[str, SourceFile] = {}
    for number, sibling in enumerate(listing.siblings):
        if sibling.lfs is not None:
            file = SourceFile(sibling.rfilename, sibling.lfs.size, sha256=sibling.lfs.sha256)
        elif sibling.size is not None and sibling.git_sha1 is not None:
            file = SourceFile(sibling.rfilename, sibling.size, git_sha1=sibling.git_sha1)
        else:
            raise ListingError(f"siblings.{number}")
        if file.path in files:
            raise ListingError(f"siblings.{number}.rfilename")
        files[file.path] = file
    return listing.sha, files
