"""Whether ``vocab.json`` and ``merges.txt`` are of one byte-pair tokenizer, and whole."""

from collections.abc import Collection, Iterable

from sdbuild.bytepairs import WORD_END


def lost_words(vocabulary: Iterable[str], merges: Iterable[str]) -> list[str]:
    """The words that no merge makes, in the vocabulary's order.

    A vocabulary has its alphabet, with and without ``</w>``, one word for each merge, and the special words, which are found
    by name; so merges are missing for any other word, and texts with it fall apart into shorter ones. ``merges`` are their
    words: both parts joined. Special words are taken to be in angle brackets: ``<|endoftext|>``, ``<unk>``.
    """
    made = frozenset(merges)
    return [
        word
        for word in vocabulary
        if word not in made and len(word.removesuffix(WORD_END)) > 1 and word != WORD_END and not _is_special(word)
    ]


def unknown_words(vocabulary: Collection[str], merges: Iterable[str]) -> list[str]:
    """The words that merges make, see `lost_words`, and the vocabulary lacks."""
    return [word for word in merges if word not in vocabulary]


def _is_special(word: str) -> bool:
    return word.startswith("<") and word.endswith(">") and not word.endswith(WORD_END)
