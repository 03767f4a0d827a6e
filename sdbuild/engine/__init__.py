"""The engine: doit runs the tasks, the store says which need running, and people are told about it."""

import gc
import os

# A command with nothing to do should be over at once. What it allocates stays: to collect it takes a twelfth of its time.
gc.set_threshold(100_000, 50, 100)
# pydantic would read the metadata of every installed package in search of plugins, which have no say in recipes.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
