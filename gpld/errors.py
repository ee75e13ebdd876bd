"""Errors that end a program with one clear line and an exit code."""


class UsageError(Exception):
    """The user asked for something that is not possible."""

    exit_code = 2


class MachineError(Exception):
    """The machine cannot do what was asked: files, devices, worker processes."""

    exit_code = 1
