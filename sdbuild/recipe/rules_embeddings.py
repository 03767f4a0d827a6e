"""Rules on learned embeddings."""

from __future__ import annotations

from collections.abc import Iterator

from sdbuild.recipe.document import Location
from sdbuild.recipe.embeddings import KINDS, Embedding
from sdbuild.recipe.model import Recipe
from sdbuild.recipe.problems import allowed, display, suggestion
from sdbuild.recipe.rules import Finding, rule
from sdbuild.recipe.rules_model import source_findings
from sdbuild.recipe.written import WrittenRecipe


@rule("model")
def embeddings_are_there(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Each must be a file, or a source that may hold one; no two can have one token."""
    tokens: list[str] = []
    for number, each in enumerate(recipe.model.embeddings):
        at: Location = ("model", "embeddings", number)
        if each.source.remote or each.source.shipped:
            yield from source_findings(each.source, at, "model_index.json")
        if not each.source.remote:
            yield from _file(each, (*at, "source"))
        if each.token in tokens:
            yield Finding(f"two embeddings have the token '{each.token}'", ((*at, "token"),))
        tokens.append(each.token)


def _file(embedding: Embedding, at: Location) -> Iterator[Finding]:
    """That of an embedding on this machine."""
    path = embedding.source.file or embedding.source.folder
    if path is None:
        return
    if embedding.source.shipped:
        if embedding.file is None or not (path / embedding.file).is_file():
            known = [f"{embedding.source.name}/embeddings/{file.name}" for file in sorted(path.glob("embeddings/*"))]
            name = "/".join(filter(None, (embedding.source.name, embedding.file)))
            yield Finding(f"no built-in embedding '{name}'", (at,), (*suggestion(name, known), allowed(known)))
        return
    for key in ("revision", "sha256"):
        if getattr(embedding.source, key) is not None:
            yield Finding(
                f"a file on this machine has no `{key}`", ((*at[:-1], key),), ("remove the key",), on_key=True
            )
    if not path.exists():
        note = f"looked for {display(path)}: relative paths start at the recipe's own folder"
        yield Finding(f"no file '{embedding.source.id}'", (at,), (note,))
    elif path.is_dir():
        message = f"'{embedding.source.id}' is a folder: name the file of the embedding"
        yield Finding(message, (at,), (f"such files end in {' or '.join(KINDS)}",))
    elif path.suffix not in KINDS:
        yield Finding(f"'{embedding.source.id}' is no embedding", (at,), (f"such files end in {' or '.join(KINDS)}",))
