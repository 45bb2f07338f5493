"""Every error the service raises on purpose, and the one form in which clients see them (RFC 9457).

The class says status, code and title; `errors.md` of the API is drawn from this list. Input problems of the
core (`fdkd_core.errors.InputError`) keep their codes and become a 422.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fdkd_core.errors import Problem, quote
from service.identifiers import kind_of

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_SCHEMA = "#/components/schemas/Problem"


@dataclass(frozen=True)
class ParameterProblem(Problem):
    """One thing wrong with a parameter of the address, into which no JSON pointer leads."""

    parameter: str | None = None


class ServiceError(Exception):
    """The request cannot be served."""

    status: ClassVar[int] = 500
    code: str = "internal"

    def __init__(
        self,
        detail: str | None = None,
        *,
        problems: Iterable[Problem] = (),
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        self.detail = detail or (self.__doc__ or "").strip()
        self.problems = tuple(problems)
        self.headers = dict(headers or {})
        self.extensions = extensions
        """More members of the problem, such as the current state of a job."""
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """What kind of error it is, the same for each of its occurrences."""
        return (cls.__doc__ or "").strip().splitlines()[0]


def documented(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: its own errors by status and code; those of any request are added."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for status in sorted({error.status for error in errors}):
        kinds = [error for error in errors if error.status == status]
        schema: dict[str, Any] = {"$ref": PROBLEM_SCHEMA}
        # The core has codes of its own for what is wrong with specs and files, all of them 422.
        if status != InvalidRequestError.status:
            codes = sorted({str(error.code) for error in kinds})
            schema = {"allOf": [schema, {"properties": {"code": {"enum": codes}}}]}
        by_status[status] = {
            "description": "\n\n".join(f"`{error.code}`: {error.title()}" for error in kinds),
            "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}},
        }
    return by_status


class InvalidRequestError(ServiceError):
    """The request is well-formed, but its content cannot be used."""

    status, code = 422, "invalid_request"


class MalformedRequestError(ServiceError):
    """The request cannot be read."""

    status, code = 400, "malformed_request"


class InvalidHostError(MalformedRequestError):
    """The request is addressed to a host that is not one of FDKD_ALLOWED_HOSTS."""

    code = "invalid_host"


class InvalidJsonError(MalformedRequestError):
    """The body is not JSON in UTF-8."""

    code = "invalid_json"


class DuplicateKeyError(MalformedRequestError):
    """An object of the body has the same key twice."""

    code = "duplicate_key"


class TooDeepError(MalformedRequestError):
    """The body is nested too deep."""

    code = "too_deep"


class InvalidMultipartError(MalformedRequestError):
    """The form is broken, or is not text fields followed by one file."""

    code = "invalid_multipart"


class InvalidCursorError(MalformedRequestError):
    """The cursor was not made for this list; begin again without one."""

    code = "invalid_cursor"


class InvalidIdempotencyKeyError(MalformedRequestError):
    """An Idempotency-Key is one header of 1 to 255 printable ASCII characters."""

    code = "invalid_idempotency_key"


class UnauthenticatedError(ServiceError):
    """A valid API key is needed: `Authorization: Bearer KEY`."""

    status, code = 401, "unauthenticated"

    def __init__(self) -> None:
        # One text for every reason, so that nothing can be learnt by trying.
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="fdkd"'})


class MissingScopeError(ServiceError):
    """The API key does not allow this."""

    status, code = 403, "missing_scope"


class QuotaExceededError(ServiceError):
    """The owner's quota would be exceeded."""

    status, code = 403, "quota_exceeded"


class NotFoundError(ServiceError):
    """There is no such thing, or it is not yours."""

    status, code = 404, "not_found"

    @classmethod
    def of(cls, what: str, reference: str) -> NotFoundError:
        """That says what is missing; the same whether it never was or is another owner's.

        Args:
            what: What was looked for: `job`.
            reference: By what: an id or a name, from a client.
        """
        kind = kind_of(reference)
        hint = "" if kind in (None, what) else f" Such ids are of a {kind}."
        return cls(f"There is no {what} {quote(reference)}, or it is not yours.{hint}")


class MethodNotAllowedError(ServiceError):
    """The method is not one of this address."""

    status, code = 405, "method_not_allowed"


class NotAcceptableError(ServiceError):
    """The answer is not of a type that the request accepts."""

    status, code = 406, "not_acceptable"


class ConflictError(ServiceError):
    """The request does not fit the present state."""

    status, code = 409, "conflict"


class NotReadyError(ConflictError):
    """It is not ready to be used yet."""

    code = "not_ready"


class InUseError(ConflictError):
    """It is in use and cannot be deleted."""

    code = "in_use"


class NameTakenError(ConflictError):
    """The name is taken; names that differ only in case or Unicode form count as the same."""

    code = "name_taken"


class TerminalStateError(ConflictError):
    """The job has ended and cannot change any more."""

    code = "terminal_state"


class NotTerminalError(ConflictError):
    """The job has not ended yet."""

    code = "not_terminal"


class AlreadyRetriedError(ConflictError):
    """A job that repeats it has not ended yet."""

    code = "already_retried"


class IsChildError(ConflictError):
    """The job is part of a comparison, which is deleted as a whole, and retried when it has ended."""

    code = "is_child"


class OffsetMismatchError(ConflictError):
    """The part does not begin where the upload ends."""

    code = "offset_mismatch"


class IncompleteUploadError(ConflictError):
    """Parts of the upload are missing."""

    code = "incomplete"


class IdempotencyInProgressError(ConflictError):
    """A request with this Idempotency-Key is still being served."""

    code = "idempotency_in_progress"


class ExpiredError(ServiceError):
    """It has expired."""

    status, code = 410, "expired"


class PreconditionFailedError(ServiceError):
    """It has changed since it was looked at."""

    status, code = 412, "precondition_failed"


class RequestTimeoutError(ServiceError):
    """The body stopped coming."""

    status, code = 408, "request_timeout"


class TooLargeError(ServiceError):
    """The body is larger than allowed."""

    status, code = 413, "too_large"


class UriTooLongError(ServiceError):
    """The address is too long."""

    status, code = 414, "uri_too_long"


class UnsupportedMediaTypeError(ServiceError):
    """The body is not of a type that is understood here."""

    status, code = 415, "unsupported_media_type"


class UnsafeFormatError(UnsupportedMediaTypeError):
    """The file's format can run code when it is loaded, so it is never opened."""

    code = "unsafe_format"


class RangeNotSatisfiableError(ServiceError):
    """The range lies outside the file, or is not one range."""

    status, code = 416, "range_not_satisfiable"


class ChecksumMismatchError(InvalidRequestError):
    """What arrived is not what was announced."""

    code = "checksum_mismatch"


class IdempotencyKeyReusedError(InvalidRequestError):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_key_reused"


class QueueFullError(ServiceError):
    """Too many jobs are waiting already."""

    status, code = 429, "queue_full"


class TooManyStreamsError(ServiceError):
    """Too many event streams are open; read the events page by page, or come back."""

    status, code = 429, "too_many_streams"


class HeadersTooLargeError(ServiceError):
    """The request has too many headers, or too long ones."""

    status, code = 431, "headers_too_large"


class UnavailableError(ServiceError):
    """A part of the service is down for the moment; nothing was lost."""

    status, code = 503, "unavailable"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "2"})


class StorageFullError(UnavailableError):
    """There is no room left to store this."""

    code = "storage_full"


class InvalidTransitionError(ConflictError):
    """The job is not in a state from which this can happen."""

    code = "invalid_transition"


class StaleAttemptError(Exception):
    """The job belongs to another attempt by now: whoever sees this must stop and write nothing more."""
