"""What goes wrong with task files."""


class BadTaskFile(ValueError):
    """A task file that cannot be run as it is; the message says what and why."""
