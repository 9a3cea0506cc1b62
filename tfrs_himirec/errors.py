"""The one exception that users see as a one-line message."""


class HimirecError(Exception):
    """Bad input, named with its remedy; the command line prints it and exits with 2.

    The message names the row, file or flag, what was expected, what was received
    and what to do. Anything else that is raised is a bug and keeps its traceback.
    """
