"""The one exception a user may meet."""


class SddError(Exception):
    """Bad input, said in one sentence: what is wrong, what was expected, how to mend it.

    The command line prints it without a traceback and exits with code 2.
    """
