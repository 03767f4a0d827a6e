"""The toy's files: those of a local folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbuild.sources.local import LocalSource


def open_source(facts: Mapping[str, Any], commit: str | None) -> LocalSource:
    return LocalSource(Path(facts["path"]), f"kept:{facts['id']}")
