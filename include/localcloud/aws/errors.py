"""Errors as AWS answers them: a code and a message; and the fate of a job as its FailureReason."""

from __future__ import annotations

__all__ = ["AwsError", "JobError", "NotOurs", "in_use", "not_found", "refused", "validation"]


class AwsError(Exception):
    """The answer to a call that AWS turns down."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class NotOurs(Exception):
    """Raised by a handler before it did anything: moto keeps the thing that the call is about."""


class JobError(Exception):
    """A job cannot go on; the text becomes its FailureReason.

    :param retry: whether AWS would try again by itself, where a RetryStrategy allows it.
    """

    def __init__(self, reason: str, *, retry: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason[:1024]
        self.retry = retry


def validation(message: str) -> AwsError:
    """A request that the service finds wrong."""
    return AwsError("ValidationException", message)


def in_use(message: str) -> AwsError:
    """A name that is taken."""
    return AwsError("ResourceInUse", message)


def not_found(message: str) -> AwsError:
    """A thing that does not exist, for those calls that answer with ``ResourceNotFound``."""
    return AwsError("ResourceNotFound", message)


def refused(what: str) -> AwsError:
    """Something AWS can do and the loopback cannot: said loudly, never skipped."""
    return AwsError("ValidationException", f"the loopback AWS does not do this: {what}")
