"""Errors a user can cause. The command line prints their one sentence and exits with code 2; it never shows a traceback.

Each message says what was given, what is allowed and what to do next. Mistakes of our own are asserts, not these.
"""


class UserError(Exception):
    """Something the user gave cannot be used as it is."""


class DataError(UserError):
    """A file or record on disk is damaged, of another layout, or misses something that was asked for."""


class MismatchError(UserError):
    """Two parts that must agree (cameras, proprio, action convention, task table) do not."""


class MissingExtraError(UserError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, needed_for: str):
        super().__init__(f"{needed_for} needs {package}, which is not installed; run: pip install 'robot-pt[{extra}]'.")


class TrainingInterrupted(UserError):
    """Ctrl-C or SIGTERM; the run was saved, and the message says how to go on. The command line exits with code 130."""
