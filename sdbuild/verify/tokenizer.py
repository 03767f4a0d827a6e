"""The library's own tokenizer, as the oracle for prompts."""

from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer

from sdbuild.arrays import Array


def tokenize(folder: Path, prompt: str, tokens: int, padding: str) -> Array:
    """Token IDs, float32 [1, tokens], by the ``vocab.json`` and ``merges.txt`` of a folder."""
    tokenizer = CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), pad_token=padding)
    ids = tokenizer(prompt, padding="max_length", max_length=tokens, truncation=True).input_ids
    return np.array([ids], np.float32)
