"""What the exit status of `fdkd` means; scripts rely on it."""

from __future__ import annotations

from fdkd_client.errors import (
    APIError,
    AuthenticationError,
    BusyError,
    ConfigurationError,
    FDKDClientError,
    ForbiddenError,
    LocalFileError,
    NotFoundError,
    ServerError,
    ServerUnreachableError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)

SUCCEEDED = 0
FAILED = 1
"""The job failed, or the command could not do its work here."""
USAGE = 2
"""The command line, a file it names, or the configuration is wrong; or there is no such thing."""
CANCELLED = 3
"""The job was cancelled."""
TIMED_OUT = 4
"""The wait was over; the job goes on."""
REJECTED = 5
"""The server, or the check before it, refused what was sent."""
NOT_ALLOWED = 6
"""The API key, or a quota."""
UNREACHABLE = 7
"""No server, or a broken one."""
DETACHED = 130
"""Ctrl-C: what was waited for goes on. 128 + SIGINT, as shells have it."""

OF_STATE = {"succeeded": SUCCEEDED, "failed": FAILED, "cancelled": CANCELLED}
"""Of the job's final state."""

_OF_ERROR: tuple[tuple[type[FDKDClientError], int], ...] = (
    (AuthenticationError, NOT_ALLOWED),
    (ForbiddenError, NOT_ALLOWED),
    (BusyError, NOT_ALLOWED),
    (NotFoundError, USAGE),
    (ServerError, UNREACHABLE),
    (APIError, REJECTED),
    (ServerUnreachableError, UNREACHABLE),
    (UnexpectedAnswerError, UNREACHABLE),
    (WaitTimeoutError, TIMED_OUT),
    (LocalFileError, USAGE),
    (ConfigurationError, USAGE),
)


def of_error(error: FDKDClientError) -> int:
    """The exit status for an error."""
    for kind, status in _OF_ERROR:
        if isinstance(error, kind):
            return status
    return FAILED
