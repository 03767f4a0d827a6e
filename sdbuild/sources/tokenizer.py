"""CLIP's tokenizer as the Swift package reads it: ``vocab.json`` and ``merges.txt``."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import Source, read_json, read_text_file, shown
from sdbuild.vocabulary import lost_words, unknown_words

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_HEADER = "#version: 0.2"  # what transformers writes, and readers skip
_NAMED = 5  # words in a message


def read_tokenizer(source: Source, folder: str, note: Callable[[str], None]) -> tuple[dict[str, int], str]:
    """The vocabulary, and the text of merges.txt with ``\\n`` after each line.

    Read from the files of these names or, where they are missing, from ``tokenizer.json``.

    Words that were added to a tokenizer are found in a prompt before it is taken apart. The Swift package's tokenizer does not
    do that (BPETokenizer.swift @e12202c): it joins letters by merges, and no merge makes an added word. So they are left out,
    whichever file has them, and ``note`` is told; but the two that frame a prompt are looked up by name.

    Raises:
        SourceError: no tokenizer, not one of CLIP's, or its vocabulary and its merges do not belong together.
    """
    added: Any = []
    if f"{folder}/vocab.json" in source.files and f"{folder}/merges.txt" in source.files:
        where = f"{folder}/vocab.json"
        vocabulary = read_json(source, where)
        merges = _lines(source, f"{folder}/merges.txt")
    elif f"{folder}/tokenizer.json" in source.files:
        where = f"{folder}/tokenizer.json"
        vocabulary, merges, added = _from_tokenizer_json(source, where)
    else:
        raise SourceError(
            f"{source.name}: {folder} has neither vocab.json and merges.txt nor tokenizer.json; name a pipeline with a "
            "CLIP tokenizer"
        )
    if not all(type(token) is int and token >= 0 for token in vocabulary.values()):
        raise SourceError(f"{source.name}: {where} maps some words to what are no numbers; the file is damaged")
    made = {line: line.replace(" ", "") for line in merges}
    _settle_added(
        source, folder, vocabulary, frozenset(made.values()), [*_words(added), *_added_beside(source, folder)], note
    )
    if missing := [token for token in _SPECIAL if token not in vocabulary]:
        raise SourceError(f"{source.name}: {where} lacks {' and '.join(missing)}: not a CLIP tokenizer")
    for line in merges:
        if len(line.split(" ")) != 2 or not all(line.split(" ")):
            raise SourceError(
                f"{source.name}: {folder}: the merge '{shown(line)}' is not two parts; the file is damaged"
            )
    _check_merges(source, folder, vocabulary, made)
    ordered = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    return ordered, "".join(f"{line}\n" for line in (_HEADER, *merges))


def _added_beside(source: Source, folder: str) -> Iterator[tuple[Any, Any]]:
    """Words and numbers of the files that transformers writes beside vocab.json, in its older and its newer way."""
    if (path := f"{folder}/added_tokens.json") in source.files:
        yield from read_json(source, path).items()
    if (path := f"{folder}/tokenizer_config.json") in source.files:
        decoder = read_json(source, path).get("added_tokens_decoder")
        for number, about in decoder.items() if isinstance(decoder, dict) else ():
            word = about.get("content") if isinstance(about, dict) else None
            yield word, int(number) if number.isdecimal() and len(number) < 10 else None


def _words(added: Any) -> Iterator[tuple[Any, Any]]:
    for token in added if isinstance(added, list) else [None]:
        yield (token.get("content"), token.get("id")) if isinstance(token, dict) else (None, None)


def _settle_added(
    source: Source,
    folder: str,
    vocabulary: dict[str, int],
    made: frozenset[str],
    added: list[tuple[Any, Any]],
    note: Callable[[str], None],
) -> None:
    left_out = {}
    for word, number in added:
        if not isinstance(word, str) or type(number) is not int or number < 0:
            raise SourceError(f"{source.name}: {folder}: an added word has no text or no number; the files are damaged")
        if vocabulary.get(word, number) != number:
            raise SourceError(
                f"{source.name}: {folder} gives {shown(word)} two numbers, {vocabulary[word]} and {number}; its files are not "
                "of one tokenizer: get them again"
            )
        if word in _SPECIAL:
            vocabulary[word] = number
        elif word not in vocabulary or lost_words([word], made):
            left_out[word] = number
            vocabulary.pop(word, None)
    if left_out:
        note(
            f"{folder} has added words ({_examples(list(left_out))}), which apps can't use: the Swift package's tokenizer "
            "joins letters by merges, and none makes these. They are left out, and prompts with them are read letter by letter"
        )


def _check_merges(source: Source, folder: str, vocabulary: dict[str, int], merges: dict[str, str]) -> None:
    """``merges``: line → the word that it makes."""
    # Lines that start with # are merges to transformers and comments to the app: they can't make what it does not know.
    if unknown := unknown_words(vocabulary, (word for line, word in merges.items() if not line.startswith("#"))):
        raise SourceError(
            f"{source.name}: {folder}: merges make {_examples(unknown)}, which the vocabulary lacks; the files are not of one "
            "tokenizer, or one of them is cut off: get them again"
        )
    if lost := lost_words(vocabulary, merges.values()):
        raise SourceError(
            f"{source.name}: {folder}: no merge makes {_examples(lost)} of the vocabulary, so prompts with such words would be "
            "read in pieces; the merges are cut off, or not of this tokenizer: get its files again. Words that were added by "
            "hand belong in added_tokens.json"
        )


def _examples(words: list[str]) -> str:
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(map(shown, words[:_NAMED])) + more


def _lines(source: Source, path: str) -> list[str]:
    try:
        text = read_text_file(source, path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{source.name}: {path} is not UTF-8; the file is damaged") from None
    # Not splitlines(): a merge may hold characters that it takes for line ends.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    body = lines[1:] if lines[0].startswith("#version") else lines
    return [line for line in body if line]


def _from_tokenizer_json(source: Source, path: str) -> tuple[dict[str, Any], list[str], Any]:
    whole = read_json(source, path)
    model: Any = whole.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict) or "merges" not in model:
        raise SourceError(f"{source.name}: {path} is of another kind than CLIP's (byte-pair encoding)")
    merges = model["merges"] if isinstance(model["merges"], list) else [model["merges"]]
    return model["vocab"], [_merge(source, path, merge) for merge in merges], whole.get("added_tokens") or []


def _merge(source: Source, path: str, merge: Any) -> str:
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) and part for part in pair):
        raise SourceError(f"{source.name}: {path}: the merge {shown(merge)} is not two parts; the file is damaged")
    return " ".join(pair)


def vocabulary_text(vocabulary: dict[str, int]) -> str:
    """The text of vocab.json."""
    return json.dumps(vocabulary, ensure_ascii=False) + "\n"
