"""How programs with options of their own read their command line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from sdbuild.errors import UsageError


class Parser(argparse.ArgumentParser):
    """A parser of command lines whose errors are like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}\n{self.format_usage().rstrip()}")
