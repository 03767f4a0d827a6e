"""Tables in what commands print."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Text in columns: the first one and any that holds no digits to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [column > 0 and any(row[column][:1].isdigit() for row in rows[1:]) for column in range(len(widths))]
    return "\n".join(
        indent
        + "  ".join(
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )
