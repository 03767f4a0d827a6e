"""The one exception a user may see."""


class UserError(Exception):
    """Something the user can mend: wrong input, a missing tool, a full disk.

    Its text is the whole message: where, what, and what to do. Entry points print it alone, without a traceback,
    and exit with status 1. Anything else that escapes is a bug of ours and keeps its traceback.
    """


def printable(text: str) -> str:
    """The text with everything a terminal could act on, or an encoder choke on, written as an escape; lines stay lines."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    """The same for a message of one line, into which names from a file may have brought others."""
    return printable(text).replace("\n", "\\n")


_MOST_TOLD = 300  # characters


def in_brief(error: Exception) -> str:
    """One line of what a library says, which may be pages long, and quote what a terminal acts on."""
    text = printable(" ".join(str(error).split()) or type(error).__name__)
    return text if len(text) <= _MOST_TOLD else f"{text[:_MOST_TOLD]}…"


NO_MEMORY = (
    "not enough memory: the system, or a limit set for this process, had no more to give. Close other programs, raise the "
    "limit, or build fewer stages at once (-n 1), then run the same command again: finished stages are kept"
)
"""What to tell when an allocation failed."""

_NO_MEMORY_WORDS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "cannot allocate memory for thread-local data",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
)


def tells_of_no_memory(text: str) -> bool:
    """Whether libraries say so in the text of an error, or before they abort."""
    return any(words in text for words in _NO_MEMORY_WORDS)
