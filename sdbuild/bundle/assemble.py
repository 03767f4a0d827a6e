"""Put a Resources folder together: one flat folder, as the Swift package opens it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdbuild.bundle.tokenizer import write_tokenizer


def assemble(models: Mapping[str, Path], tokenizers: Sequence[Path], out: Path) -> None:
    """Fill the new folder ``out``.

    Args:
        models: the compiled ``.mlmodelc`` folders by the names that the Swift package opens them by ("Unet"); their files
            are linked where the file system can, so that weights are not stored twice, and must not be written to.
        tokenizers: the pipeline's tokenizer folders; none for a pipeline without.
        out: the folder to make; its parent must exist.

    Raises:
        UserError: tokenizers without a vocabulary, or with different ones.
    """
    out.mkdir()
    for name, model in sorted(models.items()):
        for source in model.rglob("*"):
            if source.is_file():
                _link(source, out / f"{name}.mlmodelc" / source.relative_to(model))
    if tokenizers:
        write_tokenizer(tokenizers, out)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another device, or links not supported
        shutil.copyfile(source, target)
