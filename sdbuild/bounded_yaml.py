"""PyYAML's own parser with bounds: its scanner takes a time for each token that grows with the depth, so that 5,000 brackets
cost it 12 seconds; and merge keys that merge merge keys stand for any number of entries."""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 30
"""Levels that a document may be nested."""
TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
_MOST_MERGED = 1_000  # entries of one mapping


class TooLongError(yaml.YAMLError):
    """More than is worth reading with a slow parser."""


class BoundedLoader(yaml.SafeLoader):
    """Raises `yaml.YAMLError` for what is nested too deep, and `TooLongError` for what takes it a second or more."""

    most_tokens = 20_000

    def fetch_more_tokens(self) -> None:
        """Count what was read."""
        if self.tokens_taken > self.most_tokens:
            raise TooLongError("too long")
        super().fetch_more_tokens()

    def fetch_flow_collection_start(self, kind: Any) -> None:
        """Read one of the brackets that open something."""
        self._bound()
        super().fetch_flow_collection_start(kind)

    def add_indent(self, column: int) -> bool:
        """Open a block, if the column does."""
        self._bound()
        return bool(super().add_indent(column))

    def _bound(self) -> None:
        if self.flow_level + len(self.indents) > MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, TOO_DEEP, self.get_mark())

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Follow merge keys, but not into thousands of entries."""
        super().flatten_mapping(node)
        if len(node.value) > _MOST_MERGED:
            raise TooLongError("merge keys make too much of it")
