"""The stages there are, with the version of their code and the tools that show in what they write."""

from __future__ import annotations

from sdbuild.plan.graph import Stage

CONFIG = Stage("config", 4, "read the model's configuration, tokenizer and list of files")
DOWNLOAD = Stage("download", 1, "fetch the weight files")
TRACE = Stage("trace", 3, "trace the architecture, without weights", ("torch", "diffusers", "transformers"))
CONVERT = Stage("convert", 5, "write an ML Program with the weights", ("torch", "numpy"))
COMPRESS = Stage("compress", 2, "compress the weights", ("numpy", "numba"))
CHUNK = Stage("chunk", 2, "cut the package in two")
COMPILE = Stage("compile", 1, "compile the package to what apps load")
VERIFY = Stage("verify", 3, "hold every stage's artifact against PyTorch", ("torch", "diffusers", "transformers"))
BUNDLE = Stage("bundle", 3, "put Resources together and check them")

STAGES = {stage.name: stage for stage in (CONFIG, DOWNLOAD, TRACE, CONVERT, COMPRESS, CHUNK, COMPILE, VERIFY, BUNDLE)}
"""In the order they run."""

FETCHING = (CONFIG, DOWNLOAD)
"""Those that may ask the hub; the others have all they need in the store."""
