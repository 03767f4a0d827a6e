"""sdbuild: YAML recipes in, Stable Diffusion bundles for Apple devices out."""

import os
from pathlib import Path

__version__ = "0.1.0"

# The user's extensions, laid out as this folder is: what is found here by listing is found there, too (`sdbuild.extensions`).
if _named := [
    str(Path(folder).absolute()) for folder in os.environ.get("SDBUILD_EXTENSIONS", "").split(os.pathsep) if folder
]:
    from sdbuild.uncached import import_uncached

    __path__ += _named
    import_uncached(_named)
