"""Generate with a built bundle, on any operating system.

from sdbuild.generate import Pipeline

Pipeline.open("build/shapes").generate("a large red circle on a blue background", seed=93).save("circle.png")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdbuild.generate.images import GeneratedImage
    from sdbuild.generate.pipeline import Pipeline

__all__ = ["GeneratedImage", "Pipeline"]


def __getattr__(name: str) -> Any:
    """Import torch only for those who generate: the command line is checked by modules of this room, too."""
    if name == "Pipeline":
        from sdbuild.generate.pipeline import Pipeline

        return Pipeline
    if name == "GeneratedImage":
        from sdbuild.generate.images import GeneratedImage

        return GeneratedImage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
