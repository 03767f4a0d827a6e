"""CLIP's tokenizer as the Swift package reads it: ``vocab.json`` and ``merges.txt``."""

import json
from typing import Any

from sdbuild.sources.base import Source, SourceError, read_json

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_HEADER = "#version: 0.2"  # what transformers writes, and readers skip


def read_tokenizer(source: Source, folder: str) -> tuple[dict[str, int], str]:
    """The vocabulary, and the text of merges.txt with ``\\n`` after each line.

    Read from the files of these names or, where they are missing, from ``tokenizer.json``.

    Raises:
        SourceError: no tokenizer, or not one of CLIP's.
    """
    if f"{folder}/vocab.json" in source.files and f"{folder}/merges.txt" in source.files:
        where = f"{folder}/vocab.json"
        vocabulary = read_json(source, where)
        merges = _lines(source, f"{folder}/merges.txt")
    elif f"{folder}/tokenizer.json" in source.files:
        where = f"{folder}/tokenizer.json"
        vocabulary, merges = _from_tokenizer_json(source, where)
    else:
        raise SourceError(
            f"{source.name}: {folder} has neither vocab.json and merges.txt nor tokenizer.json; name a pipeline with a "
            "CLIP tokenizer"
        )
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in vocabulary.values()):
        raise SourceError(f"{source.name}: {where} maps some words to what are no numbers; the file is damaged")
    if missing := [token for token in _SPECIAL if token not in vocabulary]:
        raise SourceError(f"{source.name}: {where} lacks {' and '.join(missing)}: not a CLIP tokenizer")
    for line in merges:
        if len(line.split(" ")) != 2 or not all(line.split(" ")):
            raise SourceError(f"{source.name}: {folder}: the merge '{line}' is not two parts; the file is damaged")
    ordered = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    return ordered, "".join(f"{line}\n" for line in (_HEADER, *merges))


def _lines(source: Source, path: str) -> list[str]:
    try:
        text = source.read(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{source.name}: {path} is not UTF-8; the file is damaged") from None
    # Not splitlines(): a merge may hold characters that it takes for line ends.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    body = lines[1:] if lines[0].startswith("#version") else lines
    return [line for line in body if line]


def _from_tokenizer_json(source: Source, path: str) -> tuple[dict[str, Any], list[str]]:
    whole = read_json(source, path)
    model: Any = whole.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict) or "merges" not in model:
        raise SourceError(f"{source.name}: {path} is of another kind than CLIP's (byte-pair encoding)")
    added = {token["content"]: token["id"] for token in whole.get("added_tokens", ())}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {**added, **model["vocab"]}, merges


def vocabulary_text(vocabulary: dict[str, int]) -> str:
    """The text of vocab.json."""
    return json.dumps(vocabulary, ensure_ascii=False) + "\n"
