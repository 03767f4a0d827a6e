"""What the contract check finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One thing that the app would stumble over; as text it is one line.

    ``file`` is relative to the Resources folder, ``what`` is wrong with it, ``why`` says what the app makes of it, and
    ``remedy`` what to do.
    """

    file: str
    what: str
    why: str
    remedy: str

    def __str__(self) -> str:
        """``file: what: why; remedy``."""
        return f"{self.file}: {self.what}: {self.why}; {self.remedy}"
