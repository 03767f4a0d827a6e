"""Words that tokenizers learn: exactly their numbers, and everything else as it was, to the app and to CLIP's own."""

import json
import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import regex
from tokenizers import Tokenizer, models, trainers
from transformers import CLIPTokenizer

from sdbuild.errors import SourceError
from sdbuild.generate.tokenizer import Tokenizer as AppTokenizer
from sdbuild.shapes.tokenizer import byte_characters
from sdbuild.sources.learned import Learned, Words
from tests.sources.prompts import ROOT, prompts, text

SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # as CLIP splits


@cache
def _shapes() -> tuple[dict[str, int], list[str]]:
    folder = ROOT / "sdbuild" / "shapes" / "model" / "tokenizer"
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    return json.loads((folder / "vocab.json").read_text(encoding="utf-8")), lines[1:-1]


@cache
def _trained() -> tuple[dict[str, int], list[str]]:
    """A tokenizer like CLIP's, of the words of the documents at hand."""
    own = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trainer = trainers.BpeTrainer(vocab_size=9000, show_progress=False, end_of_word_suffix="</w>")
    own.train_from_iterator(filter(str.isascii, regex.findall(_PIECES, text().lower())), trainer)
    merges = [" ".join(pair) for pair in json.loads(own.to_str())["model"]["merges"]]
    letters = byte_characters()
    words = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *(merge.replace(" ", "") for merge in merges),
        *SPECIAL,
    ]
    return {word: number for number, word in enumerate(dict.fromkeys(words))}, merges


TOKENIZERS = {"shapes": _shapes, "trained": _trained}
TOKENS = {"zq": 1, "qjvxkq": 3, "jqxzwjvk": 4}  # with how many vectors
"""Few words have such letters side by side. Where they can't be tokens, those are taken that are advised instead."""


@dataclass(frozen=True)
class Both:
    """A tokenizer as the app reads it, and as transformers does."""

    app: AppTokenizer
    clip: CLIPTokenizer

    def app_ids(self, prompt: str) -> list[int]:
        return list(self.app(prompt, 77).ids)

    def clip_ids(self, prompts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.clip(prompts, padding="max_length", truncation=True, max_length=77).input_ids
        return ids


def both(vocabulary: dict[str, int], merges: list[str], folder: Path) -> Both:
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = "".join(f"{line}\n" for line in ("#version: 0.2", *merges))
    (folder / "merges.txt").write_text(lines, encoding="utf-8", newline="")
    clip = CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    return Both(AppTokenizer.read(folder), clip)


@dataclass(frozen=True)
class Taught:
    """A tokenizer before and after it learned three tokens, and their numbers."""

    before: Both
    after: Both
    ids: dict[str, list[int]]
    parts: list[str]


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def taught(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    vocabulary, merges = TOKENIZERS[request.param]()
    words, first, ids = Words(vocabulary, merges), len(vocabulary), dict[str, list[int]]()
    for wish, vectors in TOKENS.items():
        token = words.suggestion(Learned(wish, vectors)) if request.param == "trained" else wish
        assert token is not None
        words.add(Learned(token, vectors), first)
        ids[token] = list(range(first, first + vectors))
        first += vectors
    folder = tmp_path_factory.mktemp(request.param)
    parts = [word.removesuffix("</w>") for word in words.vocabulary if word not in vocabulary]
    before = both(vocabulary, merges, folder / "before")
    return Taught(before, both(words.vocabulary, words.merges, folder / "after"), ids, parts)


def test_what_was_there_stays(taught: Taught) -> None:
    """Numbers, lines and their order: new ones come behind."""
    new = set(range(len(taught.before.clip), len(taught.before.clip) + sum(TOKENS.values())))
    assert {number for ids in taught.ids.values() for number in ids} == new


def test_ten_thousand_prompts_keep_their_numbers(taught: Taught) -> None:
    """But for those in which a token's part is written, as random letters do now and then."""
    texts = [each for each in prompts(11_000) if not any(part in each.lower() for part in taught.parts)][:10_000]
    assert len(texts) == 10_000
    assert [taught.after.app_ids(each) for each in texts] == [taught.before.app_ids(each) for each in texts]
    assert taught.after.clip_ids(texts) == taught.before.clip_ids(texts)


@pytest.mark.parametrize("shift", [0, 1, 30, 66, 70, 74, 75, 80])
def test_a_token_gives_its_numbers_wherever_it_stands(taught: Taught, shift: int) -> None:
    """What is too long is cut off as in any prompt."""
    for token, ids in taught.ids.items():
        words = ["a"] * shift
        for prompt in (" ".join([*words, token, "b"]), " ".join([*words, token.upper(), token, token.title()])):
            tail = ids + taught.before.app_ids("b")[1:2] if prompt.endswith("b") else ids * 3
            start, end = taught.before.app_ids("")[:2]
            whole = [start, *taught.before.app_ids("a")[1:2] * shift, *tail]
            assert taught.after.app_ids(prompt) == ([*whole, end] + [end] * 77)[:77]
            assert taught.after.clip_ids([prompt]) == [[*whole[:76], end] + [end] * (76 - len(whole))]


def test_a_token_gives_its_numbers_beside_anything_but_letters(taught: Taught) -> None:
    """Everything else is read as if the token were another word, which is a letter here."""
    letter = {taught.before.app_ids(text)[1] for text in ("j", "j.")}
    beside = [*string.punctuation, *string.digits, "(((", "))", "...", ":1.2", "--", "🐱", "“", "12"]
    for token, ids in taught.ids.items():
        forms = [f"{one}{token}" for one in beside] + [f"{token}{one}" for one in beside]
        forms += [f"a {one}{token}{one} b" for one in beside] + [f"({token.upper()}:1.1), {token}/{token}!"]
        plain = [form.lower().replace(token, "j") for form in forms]
        for form, other in zip(forms, plain, strict=True):
            assert taught.after.app_ids(form) == _with(taught.before.app_ids(other), letter, ids), form
        for found, other in zip(taught.after.clip_ids(forms), taught.before.clip_ids(plain), strict=True):
            assert found == _with(other, letter, ids)


def _with(numbers: list[int], letter: set[int], ids: list[int]) -> list[int]:
    """With a token in each place of a letter."""
    return [new for number in numbers for new in (ids if number in letter else [number])][:77]


def test_in_other_letters_a_token_is_read_as_they_are_or_as_itself(taught: Taught) -> None:
    """Never as anything that is not in the vocabulary."""
    for token in taught.ids:
        for letters in string.ascii_lowercase:
            for prompt in (letters + token, token + letters, token + token, f"{letters}{token}{letters}", f"é{token}"):
                assert taught.after.app(prompt, 77).unknown == taught.before.app(prompt, 77).unknown


ODD = "it is not of small letters, a to z, alone, and CLIP's own tokenizer splits words at anything else"
WORD = "the tokenizer has it as a word or as part of one already, and prompts with that would change"
TAKEN = "the tokenizer takes it for"
OTHERS = ": with more or fewer, other words would change"


def _clip_like() -> Words:
    return Words(*_shapes())


@pytest.mark.parametrize(
    ("token", "vectors", "message"),
    [
        ("style-x", 1, f"{ODD}; write sx"),
        ("Zq", 1, f"{ODD}; write zq"),
        ("水", 1, f"{ODD}; write sx"),
        ("red", 1, f"{WORD}; write rx"),
        ("ro", 1, f"{WORD}; write rox"),
        ("zqk", 1, f"{TAKEN} 3 pieces (z, q, k), and a token with one vector must be 2{OTHERS}; write zx"),
        ("zq", 2, f"{TAKEN} 2 pieces (z, q), and a token with 2 vectors must be 4{OTHERS}; write zqzx"),
        ("zqzq", 2, "zq stands in it twice, and each vector needs a part of its own; write zxzz"),
    ],
)
def test_tokens_that_can_not_be(token: str, vectors: int, message: str) -> None:
    with pytest.raises(SourceError) as failure:
        _clip_like().add(Learned(token, vectors), 653)
    assert str(failure.value) == f"the token {token}: {message}"


@pytest.mark.parametrize(
    ("token", "vectors", "message"),
    [
        ("zq", 1, "it is named twice; write zx"),
        ("zqxk", 2, "it has a part in common with the token zq; write zxzz"),
        ("qzqx", 2, "the merges of another token apply inside it; write qxqz"),
        ("xzqk", 2, "the merges of another token apply inside it; write xxxz"),
        ("kg", 1, "kg occurs in background, a word that the tokenizer has and that could change; write kx"),
    ],
)
def test_tokens_that_can_not_be_beside_another(token: str, vectors: int, message: str) -> None:
    words = _clip_like()
    words.add(Learned("zq", 1), 653)
    with pytest.raises(SourceError) as failure:
        words.add(Learned(token, vectors), 654)
    assert str(failure.value) == f"the token {token}: {message}"


@pytest.mark.parametrize("merge", ["' z", "q .</w>"])
def test_a_tokenizer_that_joins_letters_with_something_else(merge: str) -> None:
    vocabulary, merges = _shapes()
    words = Words(vocabulary | {merge.replace(" ", ""): 653}, [*merges, merge])
    with pytest.raises(SourceError, match=r"the tokenizer joins it with ['.] where that stands beside it; write "):
        words.add(Learned("zq", 1), 654)
