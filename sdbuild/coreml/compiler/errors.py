"""What stops the compiler."""

from sdbuild.errors import UserError


class CompileError(UserError):
    """A package that cannot be compiled: damaged, at odds with itself, or in the way of its output."""


class UnverifiedError(CompileError):
    """A construct whose compiled form was never compared with Apple's, so that nothing vouches for it."""
