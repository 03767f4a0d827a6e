"""What config does of learned embeddings."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sdbuild.jobs.config import Config, Embedding
from sdbuild.modeling.embeddings import read_embedding, write_rows
from sdbuild.modeling.learning import Given, learn
from sdbuild.sources import Source, SourceError, SourceFile, open_source
from sdbuild.sources.base import digest
from sdbuild.sources.embeddings import find_embedding
from sdbuild.stages import Place


def learn_embeddings(job: Config, place: Place, texts: Mapping[str, str]) -> dict[str, str]:
    """Read the embeddings, and write their vectors; returns the texts that change, and ``embeddings.json``."""
    given, origins = [], []
    for each in job.embeddings:
        source = open_source(asdict(each.source))
        file = find_embedding(source, each.file)
        with tempfile.TemporaryDirectory(dir=place.scratch) as folder:
            source.fetch(file, Path(folder), place.scratch, lambda done: None)
            path = Path(folder) / file.name
            name = source.name if each.source.path is not None or source.single else f"{source.name}/{file.path}"
            try:
                vectors = read_embedding(path, job.allow_pickle)
            except SourceError as error:
                raise SourceError(str(error).replace(str(path), name)) from None
            with path.open("rb") as content:
                origins.append(_origin(each, source, file, digest(content)))
        for folder, of_encoder in zip(job.encoders, vectors, strict=False):
            if empty := [number for number, vector in enumerate(of_encoder, 1) if not vector.any()]:
                which = "all" if len(empty) == len(of_encoder) else f"number {', '.join(map(str, empty))}"
                place.warn(
                    f"{name}: of its {len(of_encoder)} vectors for {folder} {which} are 0, which mean nothing to it"
                )
        given.append(Given(name, each.token, vectors))
    encoders = {
        folder: [name for name, each in job.components.items() if each.folder == folder] for folder in job.encoders
    }
    changed, rows, numbers = learn(texts, job.tokenizers, encoders, given, job.tokens)
    for name, table in rows.items():
        (place.output / "components" / name).mkdir(parents=True, exist_ok=True)
        write_rows(table, place.output / "components" / name / "rows.safetensors")
    about = [
        {"token": each.token, "ids": numbers[each.token], "source": origin}
        for each, origin in zip(given, origins, strict=True)
    ]
    return changed | {"embeddings.json": json.dumps(about, indent=2, sort_keys=True) + "\n"}


def _origin(embedding: Embedding, source: Source, file: SourceFile, sha256: str) -> dict[str, Any]:
    """Where an embedding is from: of a local file only its content is said."""
    if embedding.source.path is not None:
        return {"local": sha256}
    commit = {"commit": source.commit} if source.commit else {}
    address = embedding.source.id.partition("?")[0]  # of the web, whatever else was asked
    return {embedding.source.kind: address, "file": file.path, "sha256": sha256} | commit
