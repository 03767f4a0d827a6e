"""The one exception a user may see."""


class UserError(Exception):
    """Something the user can mend: wrong input, a missing tool, a full disk.

    Its text is the whole message: where, what, and what to do. Entry points print it alone, without a traceback,
    and exit with status 1. Anything else that escapes is a bug of ours and keeps its traceback.
    """
