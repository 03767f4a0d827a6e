"""What the entries of a folder of results are called that a build writes, and what no variant beside them can be called."""

PACKAGES = "packages"
RESOURCES = "Resources"
MANIFEST = "manifest.json"
ENTRIES = (PACKAGES, RESOURCES, MANIFEST, "verify.json", "verify.txt")
"""All but the zip, whose name starts with the recipe's."""
ZIP_END = "_compiled.zip"
ALL = "all"
"""What stands for every variant on a command line, so none can be called that."""


def is_taken(name: str) -> bool:
    """Whether a folder called ``name`` would be, or could be taken for, something that a build writes itself."""
    small = name.lower()  # many disks don't tell `resources` from `Resources`
    return small in map(str.lower, ENTRIES) or small.endswith(ZIP_END)
