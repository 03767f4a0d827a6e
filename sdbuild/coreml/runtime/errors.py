"""What can go wrong between a package and its results."""

from sdbuild.errors import UserError


class ModelError(UserError):
    """A model that cannot be run: damaged, inconsistent, or of a kind the runtime does not know."""


class UnsupportedError(ModelError):
    """A sound model that uses something the runtime cannot execute; the text names the operation and its place."""


class InputError(UserError):
    """Inputs that do not fit the model: a missing or unknown name, a wrong shape or data type."""
