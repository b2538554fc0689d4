"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Something the user asked for cannot work.

    The message is one line that names the file or field, the value, and the remedy. The command line prints it
    and exits with status 2; there is no traceback.
    """
