"""Digests of folders outside of the store."""

from pathlib import Path

from sdbuild.store.digest import part_digest, record_files


def tree_digest(folder: Path) -> str:
    """The digest of any folder, computed from its content."""
    digest = part_digest(record_files(folder), None)
    assert digest is not None
    return digest
