"""``vocab.json`` and ``merges.txt``, which the Swift package reads by itself: put them in form, and check them.

Its reader of merges goes by bytes: a line ends with LF alone, one without it is lost, those that start with ``#`` and empty
ones are skipped, any other must be two fields with a blank between, or the app does not start. The vocabulary must decode
to string → int, or the app crashes. One pair of files serves all text encoders.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from sdbuild.bundle.violation import Violation
from sdbuild.errors import UserError
from sdbuild.standins import ENOUGH, stand_in
from sdbuild.vocabulary import lost_words, unknown_words

VOCABULARY, MERGES = "vocab.json", "merges.txt"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEW = "take it from the model's tokenizer"


def write_tokenizer(folders: Sequence[Path], out: Path) -> None:
    """Copy both files to ``out``, with LF line ends and one at the end.

    They come from the first of a pipeline's tokenizer folders; the others must hold the same.

    Raises:
        UserError: a file is missing, or tokenizers differ: the Swift package has one for all text encoders.
    """
    texts = [[_unix(folder / name) for name in (VOCABULARY, MERGES)] for folder in folders]
    for folder, other in zip(folders, texts, strict=True):
        if other != texts[0]:
            raise UserError(
                f"bundle: {folders[0].name} and {folder.name} differ, but the Swift package tokenizes for all text "
                "encoders with one vocabulary; such a model cannot be bundled for it"
            )
    for name, text in zip((VOCABULARY, MERGES), texts[0], strict=True):
        (out / name).write_bytes(text)


def _unix(path: Path) -> bytes:
    try:
        content = path.read_bytes().removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n")
    except FileNotFoundError:
        raise UserError(f"bundle: the tokenizer {path.parent.name} has no {path.name}") from None
    return content if content.endswith(b"\n") else content + b"\n"


def check_tokenizer(folder: Path, present: Collection[str], tokens: Sequence[str]) -> list[Violation]:
    """What is wrong with the two files in ``folder``, whose entries are ``present``; ``tokens`` must be known to it."""
    violations = [
        Violation(name, "missing", "the app cannot tokenize a prompt and does not start", _NEW)
        for name in (VOCABULARY, MERGES)
        if name not in present
    ]
    texts, vocabulary = {name: (folder / name).read_bytes() for name in (VOCABULARY, MERGES) if name in present}, None
    for name in list(texts):
        if wrong := stand_in(texts[name][:ENOUGH]):
            violations.append(Violation(name, wrong.what, "the app does not start", wrong.remedy))
            del texts[name]
    if VOCABULARY in texts:
        vocabulary, found = _check_vocabulary(texts[VOCABULARY], tokens)
        violations += found
    if MERGES in texts:
        violations += _check_merges(texts[MERGES], vocabulary)
    return violations


def _check_vocabulary(content: bytes, tokens: Sequence[str]) -> tuple[dict[str, int] | None, list[Violation]]:
    def wrong(what: str, why: str = "the app crashes when it reads the vocabulary") -> Violation:
        return Violation(VOCABULARY, what, why, _NEW)

    try:
        vocabulary = json.loads(content)
    except ValueError as error:
        return None, [wrong(f"not JSON ({error})")]
    if not isinstance(vocabulary, dict):
        return None, [wrong("not a mapping of tokens to numbers")]
    bad = [token for token, number in vocabulary.items() if type(number) is not int]
    if bad:
        return None, [wrong(f"{bad[0]!r} is not mapped to a whole number{_and_more(bad)}")]
    whys = {"!": "the second text encoder's prompts are padded with it, and something else would be"}
    default = "every prompt is framed with it, and something else would be"
    return vocabulary, [wrong(f"lacks {t}", whys.get(t, default)) for t in tokens if t not in vocabulary]


def _check_merges(content: bytes, vocabulary: dict[str, int] | None) -> list[Violation]:
    violations = []

    def wrong(what: str, why: str, remedy: str) -> None:
        violations.append(Violation(MERGES, what, why, remedy))

    count = content.count(b"\r")
    if count:
        wrong(f"{count} carriage returns", "the app takes them for part of a token", "write it with LF line ends")
        content = content.replace(b"\r", b"")
    if content and not content.endswith(b"\n"):
        wrong("the last line does not end with LF", "the app loses it", "end it with LF")
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1)]
    fields = [(number, line, [field for field in line.split(b" ") if field]) for number, line in lines if line]
    bad = [number for number, line, parts in fields if len(parts) != 2 and not line.startswith(b"#")]
    if bad:
        wrong(f"line {bad[0]} is not two fields{_and_more(bad)}", "the app does not start", _NEW)
    elif vocabulary is not None:
        made = [(line, b"".join(parts).decode(errors="replace")) for _, line, parts in fields]
        if unknown := unknown_words(vocabulary, (word for line, word in made if not line.startswith(b"#"))):
            what = f"makes {unknown[0]}, which vocab.json lacks{_and_more(unknown)}"
            wrong(what, "such words end the prompt", "take both files from one tokenizer")
        # Of CLIP's own merges the app skips those that start with #; that is no fault of the file.
        if lost := lost_words(vocabulary, (word for _, word in made)):
            what = f"has no merge for {lost[0]}, which vocab.json has{_and_more(lost)}"
            wrong(
                what, "prompts with such words are read in shorter pieces", "take both files, whole, from one tokenizer"
            )
    return violations


def _and_more(found: Sequence[object]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""
