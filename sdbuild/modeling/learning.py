"""Learned embeddings put into what was read of a pipeline: its tokenizers learn the words, its text encoders grow."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.errors import SourceError
from sdbuild.sources.configs import canonical
from sdbuild.sources.learned import END, Learned, Words
from sdbuild.sources.tokenizer import vocabulary_text


@dataclass(frozen=True)
class Given:
    """An embedding."""

    name: str
    """Of its file, for messages."""
    token: str
    """What is to be written for it."""
    vectors: tuple[Array, ...]
    """For each text encoder, float32 [vectors, width]."""


def learn(
    texts: Mapping[str, str],
    tokenizers: Sequence[str],
    encoders: Mapping[str, Sequence[str]],
    given: Sequence[Given],
    tokens: int,
) -> tuple[dict[str, str], dict[str, Array], dict[str, list[int]]]:
    """Texts that take the place of those that `survey` found: both files of every tokenizer, and ``config.json`` of text
    encoders; by component new rows for the table of each, float32 [rows, width]; and by token, in order, its numbers.

    ``tokenizers`` are folders; ``encoders`` all text encoders of the pipeline, and the components that are built of each;
    ``tokens`` is the length of a prompt.

    A text encoder's pooled output is that of the mark for the end. Where its configuration does not know that mark (the
    ``eos_token_id: 2`` of models from before 2023), transformers takes the greatest number instead, which a new word's
    would be; so the configuration learns the mark, too.

    Raises:
        SourceError: an embedding of another pipeline, or too long for a prompt; a token that can't be.
    """
    configs = {each: json.loads(texts[_config(each)]) for built in encoders.values() for each in built}
    for each in given:
        _check(each, encoders, configs, tokens)
    found, numbers, first = dict[str, str](), dict[str, list[int]](), 0
    for folder in tokenizers:
        vocabulary = json.loads(texts[f"{folder}/vocab.json"])
        header, *merges = texts[f"{folder}/merges.txt"].removesuffix("\n").split("\n")
        words, first = Words(vocabulary, merges), _first(vocabulary, configs)
        for each in given:
            learned = Learned(each.token, len(each.vectors[0]))
            numbers[each.token] = words.add(learned, first)
            first += learned.vectors
        found[f"{folder}/vocab.json"] = vocabulary_text(words.vocabulary)
        found[f"{folder}/merges.txt"] = "".join(f"{line}\n" for line in (header, *words.merges))
        configs = {name: config | {"eos_token_id": vocabulary[END]} for name, config in configs.items()}
    rows = {
        name: np.concatenate([each.vectors[number] for each in given])
        for number, built in enumerate(encoders.values())
        for name in built
    }
    found |= {_config(name): canonical(config | {"vocab_size": first}) for name, config in configs.items()}
    return found, rows, numbers


def _config(component: str) -> str:
    return f"components/{component}/config.json"


_ROWS = 49408  # of a table whose configuration does not say: transformers' default


def _first(vocabulary: Mapping[str, int], configs: Mapping[str, Mapping[str, Any]]) -> int:
    """The number of the first new word: that of the first new row of the text encoders' tables."""
    sizes = {config.get("vocab_size", _ROWS) for config in configs.values()} or {max(vocabulary.values()) + 1}
    if len(sizes) > 1:
        raise SourceError(
            f"the text encoders know {' and '.join(map(str, sorted(sizes)))} tokens, and a new word must have one number for "
            "all of them; leave out `embeddings`"
        )
    return int(sizes.pop())


def _check(
    given: Given, encoders: Mapping[str, Sequence[str]], configs: Mapping[str, Mapping[str, Any]], tokens: int
) -> None:
    counted = {1: "one text encoder", 2: "two text encoders, as SDXL has"}
    if len(given.vectors) != len(encoders):
        raise SourceError(
            f"{given.name}: an embedding for {counted[len(given.vectors)]}, and this pipeline has {len(encoders)} "
            f"({', '.join(encoders)}); name one that was trained for it"
        )
    for vectors, (folder, built) in zip(given.vectors, encoders.items(), strict=True):
        for name in built:
            if vectors.shape[1] != (width := configs[name].get("hidden_size", 512)):
                raise SourceError(
                    f"{given.name}: its vectors have {vectors.shape[1]} numbers, and those of {folder} {width}; name an "
                    "embedding that was trained for this pipeline"
                )
    if len(given.vectors[0]) > tokens - 2:
        raise SourceError(
            f"{given.name}: {len(given.vectors[0])} vectors, and a prompt has room for {tokens - 2} between its marks"
        )
