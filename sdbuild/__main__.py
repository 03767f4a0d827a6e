"""``python -m sdbuild``: the command ``sdbuild``."""

from sdbuild.engine.cli import main

if __name__ == "__main__":
    main()
