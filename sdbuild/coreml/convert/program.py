"""What is converted: a graph of ATen operations, whoever holds it."""

from typing import Protocol

from torch.export.graph_signature import ExportGraphSignature
from torch.fx import Graph


class Program(Protocol):
    """``torch.export.ExportedProgram``, or as much of it as conversion takes."""

    @property
    def graph(self) -> Graph:
        """Traced without decomposition, all shapes static; ``meta["val"]`` of a node has its type and shape."""

    @property
    def graph_signature(self) -> ExportGraphSignature:
        """Which placeholders are inputs, and which parameter each other one stands for."""
