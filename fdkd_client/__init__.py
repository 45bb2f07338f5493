"""Client of the FDKD service: `Client` for Python, `fdkd` for the command line.

    from fdkd_client import Client

    with Client() as client:      # the local `fdkd serve`, or what FDKD_URL and FDKD_API_KEY name
        dataset = client.datasets.wait(client.datasets.create("runs/digits", "digits"))
        job = client.jobs.create({"kind": "distill", "dataset": dataset.id, ...})
        job = client.jobs.wait(job.id, on_update=print)
        client.students.download(job.id, "student")

What is public is imported when it is first asked for, so that `fdkd --help` does not wait for HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdkd_client.client import Client as Client
    from fdkd_client.errors import APIError as APIError
    from fdkd_client.errors import AuthenticationError as AuthenticationError
    from fdkd_client.errors import BusyError as BusyError
    from fdkd_client.errors import ConfigurationError as ConfigurationError
    from fdkd_client.errors import ConflictError as ConflictError
    from fdkd_client.errors import FDKDClientError as FDKDClientError
    from fdkd_client.errors import ForbiddenError as ForbiddenError
    from fdkd_client.errors import IntegrityError as IntegrityError
    from fdkd_client.errors import LocalFileError as LocalFileError
    from fdkd_client.errors import NoServerError as NoServerError
    from fdkd_client.errors import NotFoundError as NotFoundError
    from fdkd_client.errors import RejectedError as RejectedError
    from fdkd_client.errors import ServerError as ServerError
    from fdkd_client.errors import ServerUnreachableError as ServerUnreachableError
    from fdkd_client.errors import UnexpectedAnswerError as UnexpectedAnswerError
    from fdkd_client.errors import WaitTimeoutError as WaitTimeoutError
    from fdkd_client.results import Artifact as Artifact
    from fdkd_client.results import Catalog as Catalog
    from fdkd_client.results import Dataset as Dataset
    from fdkd_client.results import Job as Job
    from fdkd_client.results import JobEvent as JobEvent
    from fdkd_client.results import LogLine as LogLine
    from fdkd_client.results import Metric as Metric
    from fdkd_client.results import Model as Model
    from fdkd_client.results import Usage as Usage
    from fdkd_client.results import Validation as Validation

__all__ = [
    "APIError",
    "Artifact",
    "AuthenticationError",
    "BusyError",
    "Catalog",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Dataset",
    "FDKDClientError",
    "ForbiddenError",
    "IntegrityError",
    "Job",
    "JobEvent",
    "LocalFileError",
    "LogLine",
    "Metric",
    "Model",
    "NoServerError",
    "NotFoundError",
    "RejectedError",
    "ServerError",
    "ServerUnreachableError",
    "UnexpectedAnswerError",
    "Usage",
    "Validation",
    "WaitTimeoutError",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Client":
        from fdkd_client.client import Client

        return Client
    import fdkd_client.errors
    import fdkd_client.results

    home = fdkd_client.errors if name.endswith("Error") else fdkd_client.results
    return getattr(home, name)
