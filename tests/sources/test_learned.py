"""Words that tokenizers learn: exactly their numbers, and everything else as it was, to the app and to CLIP's own."""

import json
import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from sdbuild.errors import SourceError
from sdbuild.generate.tokenizer import Tokenizer as AppTokenizer
from sdbuild.sources.clip_vocabulary import merges_text, vocabulary_json
from sdbuild.sources.learned import Learned, Words
from tests.sources.prompts import ROOT, prompts


@cache
def _shapes() -> tuple[dict[str, int], list[str]]:
    folder = ROOT / "sdbuild" / "shapes" / "model" / "tokenizer"
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    return json.loads((folder / "vocab.json").read_text(encoding="utf-8")), lines[1:-1]


@cache
def _clip() -> tuple[dict[str, int], list[str]]:
    return json.loads(vocabulary_json()), merges_text().split("\n")[1:-1]


TOKENIZERS = {"shapes": _shapes, "clip": _clip}
TOKENS = {  # with how many vectors
    "shapes": {"zq": 1, "qjvxkq": 3, "jqxzwjvk": 4},  # few words have such letters side by side
    "clip": {"cattoy": 1, "inkwaxinkwazinkwak": 3, "badhankbadhazbadhakbadhavbadhajbadhawbadhqbadhk": 8},
}


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
    for token, vectors in TOKENS[request.param].items():
        ids[token] = words.add(Learned(token, vectors), first)
        first += vectors
    folder = tmp_path_factory.mktemp(request.param)
    parts = [word.removesuffix("</w>") for word in words.vocabulary if word not in vocabulary]
    before = both(vocabulary, merges, folder / "before")
    return Taught(before, both(words.vocabulary, words.merges, folder / "after"), ids, parts)


def test_numbers_follow_those_that_were_there(taught: Taught) -> None:
    found = [number for ids in taught.ids.values() for number in ids]
    assert found == list(range(len(taught.before.clip), len(taught.before.clip) + len(found)))


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


@pytest.mark.parametrize(
    ("token", "vectors", "result"),
    [
        ("stylex", 1, "stylex"),
        ("style-x", 1, "stylex"),
        ("<cat-toy>", 1, "cattoy"),
        ("sks", 1, "sksx"),
        ("easynegative", 1, "easynex"),
        ("style-x", 4, "stylexstylezstyleqstylek"),
    ],
)
def test_what_the_document_says_of_clip(token: str, vectors: int, result: str) -> None:
    words = Words(*_clip())
    assert words.suggestion(Learned(token, vectors)) == result
    if token == result:
        words.add(Learned(token, vectors), 49408)
    else:
        with pytest.raises(SourceError, match=f"; write {result}$"):
            words.add(Learned(token, vectors), 49408)
    document = (ROOT / "docs/embeddings.md").read_text(encoding="utf-8")
    assert f"`{result}`" in document or token.startswith("<")


def test_an_apostrophe_takes_letters_with_it_in_clip_alone(tmp_path: Path) -> None:
    vocabulary, merges = _clip()
    words = Words(vocabulary, merges)
    ids = words.add(Learned("stylex", 1), 49408)
    read = both(words.vocabulary, words.merges, tmp_path / "after")
    assert ids[0] in read.app_ids("'stylex'")
    (found,) = read.clip_ids(["'stylex'"])
    assert ids[0] not in found and found == both(vocabulary, merges, tmp_path / "before").clip_ids(["'stylex'"])[0]
