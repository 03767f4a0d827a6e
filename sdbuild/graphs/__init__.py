"""Traced graphs as plain data: what they are (`graph`), their file (`file`), and how people read them (`text`).

Light: whoever reads or prints a graph needs neither torch nor NumPy.
"""

from sdbuild.graphs.file import read_graph, write_graph
from sdbuild.graphs.graph import Graph, Node, Parameter, TensorType, Word
from sdbuild.graphs.text import as_text

__all__ = ["Graph", "Node", "Parameter", "TensorType", "Word", "as_text", "read_graph", "write_graph"]
