"""Why SageMaker says no, in our words: what a call raised, and what a job failed of."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nightshift.errors import (
    CapacityUnavailable,
    ConfigError,
    JobError,
    NightshiftError,
    PlatformUnavailable,
    QuotaExceeded,
    StorageUnavailable,
)
from nightshift.platforms.base import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EXPIRED",
    "code_of",
    "failure_of",
    "has_ended",
    "is_absent",
    "is_denied",
    "is_there_already",
    "storage_trouble",
    "vendor_errors",
]

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
"""What signed in is too old: signing in again helps."""

_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException"}
    | {"RequestLimitExceeded", "RequestThrottled", "SlowDown", "LimitExceededException"}
)
_OUT_OF_ORDER = frozenset(
    {"InternalFailure", "InternalError", "InternalServerError", "InternalServerException"}
    | {"ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException"}
)
_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId"}
    | {"SignatureDoesNotMatch", "IncompleteSignature", "InvalidSignatureException", "OptInRequired"}
    | {"MissingAuthenticationToken", "AuthFailure"}
)
_CAPACITY = frozenset({"CapacityError", "InsufficientCapacityError", "InsufficientInstanceCapacity"})
_QUOTA = frozenset({"ResourceLimitExceeded", "ServiceQuotaExceededException"})
_ABSENT = frozenset({"ResourceNotFound", "ResourceNotFoundException"})
# What Describe and Stop answer in a ValidationException for a name that they do not know.
_ABSENT_WORDS = re.compile(r"not found|could not find|does not exist|doesn't exist", re.IGNORECASE)
_THERE_WORDS = re.compile(r"already exist|must be unique", re.IGNORECASE)
# What Stop answers for a job that has ended, or is being stopped.
_ENDED_WORDS = re.compile(r"\bin status\b|\balready\b", re.IGNORECASE)

# The first of these in a job's FailureReason decides; SageMaker begins it with one of its own words. After
# AlgorithmError and ClientError come words that are the job's, and may be any.
_REASONS: tuple[tuple[re.Pattern[str], Failure], ...] = (
    (
        re.compile(r"^AlgorithmError: the job was killed by SIGKILL|^\w+Error:.*exit code: 137\D*$", re.S),
        Failure.LOST,
    ),
    (re.compile(r"^(AlgorithmError|ClientError)\b"), Failure.USER_CODE),
    (
        re.compile(r"^CapacityError|insufficient capacity|InsufficientInstanceCapacity", re.I),
        Failure.CAPACITY,
    ),
    (re.compile(r"ResourceLimitExceeded"), Failure.QUOTA),
    (re.compile(r"^(InternalServerError|InternalFailure)"), Failure.NETWORK),
    (re.compile(r"^Throttling|ThrottlingException"), Failure.THROTTLING),
    (re.compile(r"MaxWaitTimeExceeded|maximum wait time", re.I), Failure.CAPACITY),
    (re.compile(r"MaxRuntimeExceeded|maximum (allowed )?runtime", re.I), Failure.TIMED_OUT),
    (re.compile(r"OutOfMemory: |killed by SIGKILL"), Failure.LOST),
)


def failure_of(reason: str) -> Failure:
    """What a ``FailureReason`` makes a retry worth; AlgorithmError, ClientError and any other: user code."""
    return next((kind for words, kind in _REASONS if words.search(reason)), Failure.USER_CODE)


def code_of(error: Exception) -> str:
    """AWS's code of a refusal, "" where there is none."""
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _message_of(error: Exception) -> str:
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Message", "") or error)


def is_absent(error: Exception) -> bool:
    """Whether the answer is that there is nothing of that name; AWS says it in two ways."""
    if code_of(error) in _ABSENT:
        return True
    return code_of(error) == "ValidationException" and bool(_ABSENT_WORDS.search(_message_of(error)))


def is_denied(error: Exception) -> bool:
    """Whether the answer is that we may not."""
    return code_of(error) in _DENIED


def is_there_already(error: Exception) -> bool:
    """Whether the answer is that something of that name exists: ResourceInUse, or in words (CreateModel)."""
    if code_of(error) in ("ResourceInUse", "ResourceInUseException"):
        return True
    return code_of(error) == "ValidationException" and bool(_THERE_WORDS.search(_message_of(error)))


def has_ended(error: Exception) -> bool:
    """Whether the answer to Stop is that there is nothing to be stopped any more."""
    return code_of(error) == "ValidationException" and bool(_ENDED_WORDS.search(_message_of(error)))


@contextmanager
def vendor_errors(doing: str) -> Iterator[None]:
    """Turn whatever botocore raises in the block into an error of ours.

    :param doing: e.g. ``"creating training job x"``.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refused(doing, error) from None
    except BotoCoreError as error:
        raise _unsaid(doing, error) from None


def _refused(doing: str, error: Exception) -> NightshiftError:
    """AWS has answered, and it was no."""
    code, told = code_of(error), f"{doing} failed: {code_of(error)}: {_message_of(error)}"
    http = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _QUOTA:
        return QuotaExceeded(told, fix="ask for more in Service Quotas, or name another candidate")
    if code in _CAPACITY:
        return CapacityUnavailable(told)
    if code in _THROTTLED | _OUT_OF_ORDER | EXPIRED or http >= 500 or http == 429:
        return PlatformUnavailable(told)
    if code in _DENIED:
        return ConfigError(told, fix="check the connection's credentials and what its role may do")
    if code in ("ValidationException", "ValidationError", "InvalidParameterException"):
        return ConfigError(told, fix="check the SageMaker settings and the pipeline file's resources")
    return JobError(told)


def _unsaid(doing: str, error: Exception) -> NightshiftError:
    """AWS has not answered, or was not asked."""
    from botocore import exceptions

    network = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.CredentialRetrievalError)
    if isinstance(error, network):
        return PlatformUnavailable(f"{doing} failed: {error}")
    return ConfigError(f"{doing} failed: {error}", fix="check the connection and the SageMaker settings")


@contextmanager
def storage_trouble() -> Iterator[None]:
    """A store that does not answer is a platform that does not: waiting is for the same one to do."""
    try:
        yield
    except StorageUnavailable as error:
        raise PlatformUnavailable(error.what, fix=error.fix) from None
