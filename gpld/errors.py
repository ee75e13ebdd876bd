"""Errors that end a program with one clear line and an exit code, and what only warns."""


class UsageError(Exception):
    """The user asked for something that is not possible."""

    exit_code = 2


class MachineError(Exception):
    """The machine cannot do what was asked: files, devices, worker processes."""

    exit_code = 1


class Damaged(MachineError):
    """A stored file is missing, or differs from what was written."""


class Unsuitable(UsageError):
    """A stored file is intact, but this process cannot use it, and must leave it as it is.

    Another version of `gpld`, other settings or another setting of JAX has written it.
    """


class Interrupted(Exception):
    """The user or a scheduler asked the program to stop, and it can be resumed."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h: try again later."""


class LeftOut(UserWarning):
    """A part of a file cannot be understood, and everything goes on without it."""
