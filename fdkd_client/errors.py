"""Every error that the client raises on purpose.

FDKDClientError
 ├─ APIError                  the server refused: status, code, problems, request id
 │   ├─ RejectedError         400, 413, 415, 422: what was sent cannot be used
 │   ├─ AuthenticationError   401
 │   ├─ ForbiddenError        403: the key lacks a scope, or a quota is used up
 │   ├─ NotFoundError         404, 410
 │   ├─ ConflictError         409, 412: it does not fit the present state
 │   ├─ BusyError             429: too much is waiting already
 │   └─ ServerError           5xx
 ├─ ServerUnreachableError    no connection, or it was lost and the request cannot be repeated
 │   └─ NoServerError         none is named, and none runs here
 ├─ UnexpectedAnswerError     whatever answers there is no FDKD server, or one of another age
 ├─ WaitTimeoutError          the time to wait is over; the work goes on
 ├─ IntegrityError            what arrived is not what was announced
 ├─ LocalFileError            a file or folder here cannot be used
 └─ ConfigurationError        what names the server cannot be used
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fdkd_core.errors import Problem


class FDKDClientError(Exception):
    """Something that was asked of the service did not work out."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an error is made anew from its message alone, which those with other arguments refuse:
        # whoever hands errors from one process to another would lose them, and a pool its workers.
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[FDKDClientError], args: tuple[Any, ...]) -> FDKDClientError:
    """An error without its fields, which are put back afterwards."""
    return kind.__new__(kind, *args)


class APIError(FDKDClientError):
    """The server answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        problems: Iterable[Problem] = (),
        request_id: str | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        """HTTP status."""
        self.code = code
        """Stable name of the error, such as `name_taken`."""
        self.detail = detail
        self.problems = tuple(problems)
        """Each thing wrong, with a JSON pointer into what was sent where there is one."""
        self.request_id = request_id
        """What the server's log calls this request."""
        self.extensions = dict(extensions or {})
        """Further members of the answer, such as `offset_bytes` of an upload."""
        told = f" [{code}]"
        super().__init__(detail if detail.endswith(told) else detail + told)


class RejectedError(APIError):
    """What was sent cannot be used."""


class AuthenticationError(APIError):
    """The API key is missing, unknown, revoked or expired."""


class ForbiddenError(APIError):
    """The API key does not allow this, or a quota is used up."""


class NotFoundError(APIError):
    """There is no such thing, or it is not yours."""


class ConflictError(APIError):
    """It does not fit the present state."""


class BusyError(APIError):
    """Too much is waiting already; come back later."""


class ServerError(APIError):
    """The server failed."""


class ServerUnreachableError(FDKDClientError):
    """The server cannot be reached."""


class NoServerError(ServerUnreachableError):
    """No server is named."""


class UnexpectedAnswerError(FDKDClientError):
    """The answer is not one of an FDKD server."""


class WaitTimeoutError(FDKDClientError):
    """The time to wait is over; the work itself goes on."""

    def __init__(self, message: str, state: str | None = None) -> None:
        self.state = state
        """As last seen."""
        super().__init__(message)


class IntegrityError(FDKDClientError):
    """What arrived is not what was announced."""


class LocalFileError(FDKDClientError):
    """A file or folder on this machine cannot be used."""


class ConfigurationError(FDKDClientError):
    """What names the server cannot be used."""


_BY_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    412: ConflictError,
    429: BusyError,
}


def error_class(status: int) -> type[APIError]:
    """The class for an HTTP status that is not a success."""
    if status >= 500:
        return ServerError
    return _BY_STATUS.get(status, RejectedError if status >= 400 else APIError)
