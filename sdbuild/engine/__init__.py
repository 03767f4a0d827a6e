"""The engine: doit runs the tasks, the store says which need running, and people are told about it."""
