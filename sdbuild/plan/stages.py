"""The stages there are, with the version of their code and the tools that show in what they write."""

from __future__ import annotations

from sdbuild.plan.graph import Stage

CONFIG = Stage("config", 6, "read the model's configuration, tokenizer and list of files")
DOWNLOAD = Stage("download", 1, "fetch the weight files")
TRACE = Stage("trace", 4, "trace the architecture, without weights", ("torch", "diffusers", "transformers"))
CONVERT = Stage("convert", 6, "write an ML Program with the weights", ("numpy",))
COMPRESS = Stage("compress", 3, "compress the weights")
CHUNK = Stage("chunk", 2, "cut the package in two")
COMPILE = Stage("compile", 1, "compile the package to what apps load", links=True)
ORIGINALS = Stage("originals", 1, "run the originals in PyTorch", ("torch", "diffusers", "transformers"))
MEASURE = Stage("measure", 2, "hold what every stage made of a component against PyTorch", ("torch",))
VERIFY = Stage("verify", 5, "draw with what ships, and judge", ("torch", "diffusers", "transformers"))
BUNDLE = Stage("bundle", 5, "put Resources together and check them", links=True)

_MAKING = (CONFIG, DOWNLOAD, TRACE, CONVERT, COMPRESS, CHUNK, COMPILE)
STAGES = {stage.name: stage for stage in (*_MAKING, ORIGINALS, MEASURE, VERIFY, BUNDLE)}
"""In the order they run."""

FETCHING = (CONFIG, DOWNLOAD)
"""Those that may ask the hub; the others have all they need in the store."""
