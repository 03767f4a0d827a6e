"""Tokenizers in the forms they come in, and in the one that the Swift package reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from sdbuild.sources import SourceError
from sdbuild.sources.local import LocalSource
from sdbuild.sources.tokenizer import read_tokenizer, vocabulary_text
from tests.sources.make_models import MERGES, VOCABULARY, as_json, write


def read(folder: Path, files: dict[str, bytes], warnings: list[str] | None = None) -> tuple[dict[str, int], str]:
    source = LocalSource(write({f"tokenizer/{name}": body for name, body in files.items()}, folder), "model")
    told: list[str] = []
    found = read_tokenizer(source, "tokenizer", told.append)
    assert told == (warnings or [])
    return found


@pytest.mark.parametrize(
    "merges",
    [MERGES, MERGES.replace("\n", "\r\n"), MERGES.rstrip("\n"), MERGES + "\n\n", "b c</w>", "\ufeff" + MERGES],
    ids=["as-it-should-be", "windows", "no-final-newline", "empty-lines", "no-header", "byte-order-mark"],
)
def test_merges_become_lines_with_ends(tmp_path: Path, merges: str) -> None:
    files = {"vocab.json": as_json(VOCABULARY), "merges.txt": merges.encode()}
    assert read(tmp_path, files) == (VOCABULARY, "#version: 0.2\nb c</w>\n")


def test_only_line_feeds_end_a_merge(tmp_path: Path) -> None:
    odd = "\x85 \u2028"  # no ends of lines in this file
    files = {"vocab.json": as_json(VOCABULARY | {odd.replace(" ", ""): 6}), "merges.txt": f"{MERGES}{odd}\n".encode()}
    assert read(tmp_path, files)[1] == f"{MERGES}{odd}\n"


def test_a_merge_may_begin_as_a_comment_does(tmp_path: Path) -> None:
    vocabulary = VOCABULARY | {"##</w>": 6}
    files = {"vocab.json": as_json(vocabulary), "merges.txt": f"{MERGES}# #</w>\n".encode()}
    assert read(tmp_path, files)[1] == f"{MERGES}# #</w>\n"


@pytest.mark.parametrize("merges", [["b c</w>"], [["b", "c</w>"]]], ids=["text", "pairs"])
def test_both_are_derived_from_tokenizer_json(tmp_path: Path, merges: list[Any]) -> None:
    words = {token: number for token, number in VOCABULARY.items() if "|" not in token}
    added = [{"content": token, "id": number} for token, number in VOCABULARY.items() if "|" in token]
    whole = {"version": "1.0", "added_tokens": added, "model": {"type": "BPE", "vocab": words, "merges": merges}}
    assert read(tmp_path, {"tokenizer.json": as_json(whole)}) == (VOCABULARY, MERGES)


def test_the_real_library_writes_one_that_reads_the_same(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    write({"vocab.json": as_json(VOCABULARY), "merges.txt": MERGES.encode()}, tmp_path / "made")
    CLIPTokenizer.from_pretrained(tmp_path / "made").save_pretrained(tmp_path / "saved" / "tokenizer")
    names = {path.name for path in (tmp_path / "saved" / "tokenizer").iterdir()}
    assert "tokenizer.json" in names
    warnings: list[str] = []
    source = LocalSource(tmp_path / "saved", "model")
    assert read_tokenizer(source, "tokenizer", warnings.append) == (VOCABULARY, MERGES)
    assert warnings == []


ADDED = {"<cat-toy>": 6, "<|endoftext|>": 5, "<dog>": 7}
WHOLE = {
    "version": "1.0",
    "model": {
        "type": "BPE",
        "vocab": {w: n for w, n in VOCABULARY.items() if w != "<|endoftext|>"},
        "merges": ["b c</w>"],
    },
}


@pytest.mark.parametrize("form", ["added_tokens.json", "tokenizer_config.json", "tokenizer.json"])
def test_added_words_are_left_out_and_told_of_whichever_file_has_them(tmp_path: Path, form: str) -> None:
    plain = {"vocab.json": as_json(VOCABULARY), "merges.txt": MERGES.encode()}
    files = {
        "added_tokens.json": plain | {"added_tokens.json": as_json(ADDED)},
        "tokenizer_config.json": plain
        | {
            "tokenizer_config.json": as_json(
                {"added_tokens_decoder": {str(n): {"content": w} for w, n in ADDED.items()}}
            )
        },
        "tokenizer.json": {
            "tokenizer.json": as_json(WHOLE | {"added_tokens": [{"content": w, "id": n} for w, n in ADDED.items()]})
        },
    }[form]
    warning = (
        "tokenizer has added words (<cat-toy>, <dog>), which apps can't use: the Swift package's tokenizer joins letters by "
        "merges, and none makes these. They are left out, and prompts with them are read letter by letter"
    )
    assert read(tmp_path, files, [warning]) == (VOCABULARY, MERGES)


def test_an_added_word_never_comes_out_of_our_twin_of_the_swift_tokenizer(tmp_path: Path) -> None:
    from sdbuild.generate.tokenizer import Tokenizer

    write({"vocab.json": as_json(VOCABULARY | ADDED), "merges.txt": MERGES.encode()}, tmp_path)
    assert ADDED["<dog>"] not in Tokenizer.read(tmp_path)("a <dog> bc", 77).ids


def test_the_vocabulary_is_written_by_number(tmp_path: Path) -> None:
    shuffled = dict(sorted(VOCABULARY.items(), reverse=True)) | {"\u00e9</w>": 6}
    vocabulary, _ = read(tmp_path, {"vocab.json": as_json(shuffled), "merges.txt": MERGES.encode()})
    text = vocabulary_text(vocabulary)
    assert list(json.loads(text).values()) == list(range(7))
    assert "\u00e9</w>" in text


SHAPES = Path(__file__).parents[2] / "sdbuild" / "shapes" / "model" / "tokenizer"


def test_a_real_tokenizer_is_whole_and_one_that_is_cut_off_is_not(tmp_path: Path) -> None:
    files = {name: (SHAPES / name).read_bytes() for name in ("vocab.json", "merges.txt")}
    vocabulary, merges = read(tmp_path / "whole", files)
    assert len(vocabulary) == 653 and merges.encode() == files["merges.txt"]
    for cut_to, message in (
        (
            b"w ith</w>\n",
            "no merge makes yellow</w> of the vocabulary, so prompts with such words would be read in pieces; ",
        ),
        (
            b"t iny</w>\nt ri",
            "merges make tri, which the vocabulary lacks; the files are not of one tokenizer, or one of them ",
        ),
        (b"#version: 0.2\n", "no merge makes in, ro, ge</w>, le</w>, an and 134 more of the vocabulary, so prompts "),
    ):
        before, end, _ = files["merges.txt"].partition(cut_to)
        with pytest.raises(SourceError) as failure:
            read(tmp_path / "cut", files | {"merges.txt": before + end})
        assert str(failure.value).startswith(f"model: tokenizer: {message}")


def test_added_words_may_stand_in_the_vocabulary_as_well(tmp_path: Path) -> None:
    files = {
        "vocab.json": as_json(VOCABULARY | {"<unk>": 6, "sks": 7}),
        "merges.txt": MERGES.encode(),
        "added_tokens.json": as_json({"sks": 7}),
    }
    warning = (
        "tokenizer has added words (sks), which apps can't use: the Swift package's tokenizer joins letters by merges, and "
        "none makes these. They are left out, and prompts with them are read letter by letter"
    )
    assert read(tmp_path, files, [warning]) == (VOCABULARY | {"<unk>": 6}, MERGES)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {},
            "tokenizer has neither vocab.json and merges.txt nor tokenizer.json; name a pipeline with a CLIP tokenizer",
        ),
        (
            {"vocab.json": b"{", "merges.txt": b"\n"},
            "tokenizer/vocab.json, line 1 is not valid JSON; the file is damaged: get it again",
        ),
        (
            {"vocab.json": b"[]", "merges.txt": b"\n"},
            "tokenizer/vocab.json holds no JSON object; the file is not what its name says",
        ),
        (
            {"vocab.json": as_json(VOCABULARY | {"a</w>": "0"}), "merges.txt": b"\n"},
            "tokenizer/vocab.json maps some words to what are no numbers; the file is damaged",
        ),
        (
            {"vocab.json": b"{}", "merges.txt": b"\n"},
            "tokenizer/vocab.json lacks <|startoftext|> and <|endoftext|>: not a CLIP tokenizer",
        ),
        (
            {"vocab.json": as_json(VOCABULARY), "merges.txt": b"#version: 0.2\na b c\n"},
            "tokenizer: the merge 'a b c' is not two parts; the file is damaged",
        ),
        (
            {"vocab.json": as_json(VOCABULARY), "merges.txt": b"\xff\n"},
            "tokenizer/merges.txt is not UTF-8; the file is damaged",
        ),
        (
            {"vocab.json": as_json(VOCABULARY | {"a</w>": -1}), "merges.txt": b"\n"},
            "tokenizer/vocab.json maps some words to what are no numbers; the file is damaged",
        ),
        (
            {"vocab.json": as_json(VOCABULARY), "merges.txt": b"\n", "added_tokens.json": as_json({"b": 9})},
            "tokenizer gives b two numbers, 1 and 9; its files are not of one tokenizer: get them again",
        ),
        (
            {"vocab.json": as_json(VOCABULARY), "merges.txt": b"\n", "added_tokens.json": as_json({"<x>": [6]})},
            "tokenizer: an added word has no text or no number; the files are damaged",
        ),
        (
            {"tokenizer.json": as_json({"model": {"vocab": VOCABULARY, "merges": [["b", 1]]}})},
            'tokenizer/tokenizer.json: the merge ["b", 1] is not two parts; the file is damaged',
        ),
        (
            {"tokenizer.json": as_json({"model": {"vocab": VOCABULARY, "merges": []}, "added_tokens": {"a": 1}})},
            "tokenizer: an added word has no text or no number; the files are damaged",
        ),
        (
            {"tokenizer.json": as_json({"model": {"type": "Unigram", "vocab": []}})},
            "tokenizer/tokenizer.json is of another kind than CLIP's (byte-pair encoding)",
        ),
    ],
)
def test_what_is_no_clip_tokenizer(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    write({"model_index.json": b"{}"}, tmp_path)
    with pytest.raises(SourceError) as failure:
        read(tmp_path, files)
    assert str(failure.value) == f"model: {message}"
