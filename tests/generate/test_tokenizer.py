"""The app's tokenizer: CLIP's own for plain words, and known to differ from it elsewhere."""

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from sdbuild.errors import UserError
from sdbuild.generate.tokenizer import END, START, Tokenizer
from tests.generate.bundles import MODEL

FOLDER = MODEL / "tokenizer"
OWN = Tokenizer.read(FOLDER)
CLIP = CLIPTokenizer.from_pretrained(str(FOLDER), local_files_only=True)
NAMES = {number: token for token, number in CLIP.get_vocab().items()}
WORDS = ["circle", "large", "background", "blue", "on", "a", "the", "colour", "round"]

words = st.one_of(
    st.sampled_from(WORDS).map(lambda word: word.title()),
    st.text(string.ascii_letters, min_size=1, max_size=12),
    st.text(string.punctuation.replace("_", ""), min_size=1, max_size=3),
    st.sampled_from(string.digits),
)


def clip(text: str, length: int = 77) -> list[int]:
    ids: list[int] = CLIP(text, padding="max_length", truncation=True, max_length=length).input_ids
    return ids


def pieces(text: str) -> list[str]:
    """What lies between start and end, as the app reads it."""
    ids = list(OWN(text, 77, "!").ids)
    while NAMES[ids[-1]] == "!":
        ids.pop()
    return [NAMES[number] for number in ids[1:-1]]


@given(st.lists(words, max_size=9), st.sampled_from([" ", "  ", "   "]), st.sampled_from(["", " ", "\n", "\t \u3000"]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_words_between_spaces_as_in_clip(prompt: list[str], space: str, around: str) -> None:
    text = around + space.join(prompt) + around
    assert list(OWN(text, 200).ids) == clip(text, 200)


@pytest.mark.parametrize("text", ["", " ", "a large red circle on a blue background", "A LARGE Red cIrCLe", "zebra"])
def test_padding(text: str) -> None:
    assert list(OWN(text, 77).ids) == clip(text)
    second = CLIPTokenizer.from_pretrained(str(FOLDER), local_files_only=True, pad_token="!")
    padded = second(text, padding="max_length", truncation=True, max_length=77).input_ids
    assert list(OWN(text, 77, "!").ids) == padded


def test_a_long_prompt_loses_its_end_mark() -> None:
    text = "circle " * 90
    tokens, theirs = OWN(text, 77), clip(text)
    assert list(tokens.ids[:76]) == theirs[:76]
    assert (NAMES[tokens.ids[76]], NAMES[theirs[76]]) == ("circle</w>", END)
    assert tokens.dropped == " ".join(["circle"] * 14)
    assert OWN("circle " * 75, 77).dropped == ""


@pytest.mark.parametrize(
    ("text", "own", "theirs"),
    [
        # Only blanks part words: a comma hangs on to the word before it, whose last piece is another then.
        ("red, blue", ["r", "e", "d", ",</w>", "blue</w>"], ["red</w>", ",</w>", "blue</w>"]),
        ("on\na", ["o", "n", END, "a</w>"], ["on</w>", "a</w>"]),
        ("a's", ["a", "'", "s</w>"], ["a</w>", "'", "s</w>"]),
        ("42", ["4", "2</w>"], ["4</w>", "2</w>"]),
        # Letters are looked up as they are, and not as the bytes that the vocabulary stands for.
        ("é", ["é</w>"], ["Ã", "©</w>"]),
        ("e\u0301", ["é</w>"], ["Ã", "©</w>"]),
        ("日", [END], ["æ", "Ĺ", "¥</w>"]),
        ("🐱 a", [END, "a</w>"], ["ð", "Ł", "Ĳ", "±</w>", "a</w>"]),
        # A character is what a reader takes for one: letters with marks, families of emoji, flags.
        ("q\u0323 a", [END, "a</w>"], ["q</w>", "Ì", "£</w>", "a</w>"]),
        ("👩\u200d👧", [END], None),
        ("🇳🇱", [END], None),
        ("ΟΣ", [END, END], None),
        # CLIP knows its marks in the prompt; the app reads characters.
        (f"a {END}", ["a</w>", *(c for c in END[:-1]), ">" + "</w>"], ["a</w>", END]),
    ],
)
def test_where_it_differs_from_clip(text: str, own: list[str], theirs: list[str] | None) -> None:
    assert pieces(text) == own
    found = [NAMES[number] for number in CLIP(text).input_ids[1:-1]]
    assert found != own
    if theirs is not None:
        assert found == theirs


def test_unknown_pieces_are_told() -> None:
    assert OWN("a 日 b 🐱🐱 日", 77).unknown == ("日", "🐱")
    assert OWN("a circle", 77).unknown == ()


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_becomes_numbers_of_the_vocabulary(text: str) -> None:
    tokens = OWN(text, 77)
    assert len(tokens.ids) == 77
    assert tokens.ids[0] == CLIP.bos_token_id
    assert all(number in NAMES for number in tokens.ids)


def _write(path: Path, vocabulary: str, merges: bytes) -> Path:
    (path / "vocab.json").write_text(vocabulary, encoding="utf-8")
    (path / "merges.txt").write_bytes(merges)
    return path


def test_merges_are_read_as_the_app_reads_them(tmp_path: Path) -> None:
    vocabulary = f'{{"a": 1, "b</w>": 2, "ab</w>": 3, "c</w>": 4, "ac</w>": 5, "{START}": 6, "{END}": 7, "#": 8}}'
    tokenizer = Tokenizer.read(_write(tmp_path, vocabulary, b"#version: 0.2\n\na  b</w>\n# b</w>\na c</w>"))
    assert tokenizer("ab ac", 6).ids == (6, 3, 1, 4, 7, 7)  # the last line has no end, and is lost
    assert tokenizer("#b", 4).ids == (6, 8, 2, 7)  # a comment to the app, though CLIP has such merges


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ("{", b"", "vocab.json: not JSON"),
        ("[1]", b"", "vocab.json: not a mapping"),
        ('{"a": "1"}', b"", "vocab.json: not a mapping"),
        ("{}", b"#\na b c\n", "merges.txt, line 2: not two fields"),
    ],
)
def test_damaged_files(tmp_path: Path, vocabulary: str, merges: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tokenizer.read(_write(tmp_path, vocabulary, merges))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vocab.json: cannot be read \(No such file"):
        Tokenizer.read(tmp_path)
