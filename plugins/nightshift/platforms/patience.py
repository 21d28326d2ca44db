"""Bearing a platform that does not answer: throttled, out of order, or out of reach for a while."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

from nightshift.errors import PlatformUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TROUBLE", "patiently"]

TROUBLE = (PlatformUnavailable, ConnectionError, TimeoutError)
"""What may pass by itself."""

_PATIENCE_S = 300.0
_LONGEST_PAUSE_S = 30.0

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


def patiently(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call(…)``, again and again for up to five minutes while the platform is in trouble.

    Every call of a platform may be repeated: submitting is get-or-create by name, the others only look, or
    ask for what is asked already.

    :raises PlatformUnavailable: when the trouble lasts; Airflow's retry then finds the job again.
    """
    trying = Retrying(
        retry=retry_if_exception_type(TROUBLE),
        wait=wait_random_exponential(multiplier=0.5, max=_LONGEST_PAUSE_S),
        stop=stop_before_delay(_PATIENCE_S),
        before_sleep=before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    return trying(call, *args, **kwargs)
