"""What several tests need, made by the first of them: once for all worker processes of a run."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

_places: list[Path] = []


def share(folder: Path) -> None:
    """Say where it lies: in each process, before its first test."""
    _places[:] = [folder]


def once(name: str, make: Callable[[Path], object]) -> Path:
    """The file or folder that ``make`` makes, for whoever asks for that name; nobody changes it."""
    (place,) = _places
    path = place / name
    with FileLock(f"{path}.lock"):
        if not path.exists():
            try:
                make(path)
            except BaseException:
                shutil.rmtree(path, ignore_errors=True)
                raise
    return path


def digest(*settings: Any) -> str:
    """Part of a name: short, and another one for other settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def traced(kind: str, config: Mapping[str, Any], shape: Any) -> Path:
    """The graph of a component, as the trace stage writes it; ``shape`` is a `Shape` of `sdbuild.modeling.components`."""
    from sdbuild.modeling.tracing import trace
    from tests.architectures import build  # tests that make nothing of it need not wait for its libraries

    name = f"{kind}-{digest(dict(config), asdict(shape))}.json"
    return once(name, lambda path: trace(build(kind, config, shape), path))
