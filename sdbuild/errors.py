"""The one exception a user may see, and the exit statuses."""

from enum import IntEnum


class Status(IntEnum):
    """How every program of sdbuild ends; 128 + n: interrupted by signal n. Of several failures the highest counts."""

    DONE = 0
    FAILED = 1
    """Something else than what follows: a stage, the disk, the output."""
    FAULT = 2
    """A bug in sdbuild."""
    USAGE = 3
    """The command line."""
    RECIPE = 4
    SOURCE = 5
    """The model, or the hub."""
    VERIFICATION = 6
    """What was built falls short of what the recipe asks for."""
    WOULD_RUN = 10
    """`plan` found something to do."""


class UserError(Exception):
    """Something the user can mend: wrong input, a missing tool, a full disk.

    Its text is the whole message: where, what, and what to do. Entry points print it alone, without a traceback,
    and exit with its status. Anything else that escapes is a bug of ours and keeps its traceback.
    """

    status: int = Status.FAILED

    def __init__(self, text: str = "", *, status: int | None = None) -> None:
        """``status``: another than that of the class."""
        super().__init__(text)
        if status is not None:
            self.status = status


class UsageError(UserError):
    """A command line that can't be meant."""

    status = Status.USAGE


class Mistakes:
    """Gathers what is wrong with several values of a command line, so that all of it is reported at once.

    ``with mistakes:`` keeps a UsageError that is raised inside, and goes on after it.
    """

    def __init__(self) -> None:
        """None so far."""
        self._found: dict[str, None] = {}

    def __enter__(self) -> None:
        """Begin to look at one value."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """Keep what is wrong with it."""
        if isinstance(error, UsageError):
            self._found[str(error)] = None
            return True
        return False

    def check(self) -> None:
        """Raise UsageError if there are any, each on lines of its own."""
        if self._found:
            raise UsageError("\n".join(self._found))


class SourceError(UserError):
    """A source that can't be used: its text names the source, what is wrong and what to do."""

    status = Status.SOURCE


class ShortfallError(UserError):
    """What was built is further from the original than the recipe allows."""

    status = Status.VERIFICATION


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
