"""Bearing a platform that does not answer: throttled, out of order, or out of reach for a while."""

from __future__ import annotations

import logging
import time
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

__all__ = ["TROUBLE", "Pause", "patiently"]

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


class Pause:
    """For what may be left out for a while: asked again later and later while it fails.

    A job's end must be seen though its log cannot be read: a cloud answers fewer questions about logs.
    """

    def __init__(self) -> None:
        self._length_s = 0.0
        self._until = 0.0

    @property
    def is_over(self) -> bool:
        """Whether to ask again."""
        return time.monotonic() >= self._until

    def failed(self) -> None:
        """Wait, twice as long as before."""
        self._length_s = min(max(1.0, 2 * self._length_s), _LONGEST_PAUSE_S)
        self._until = time.monotonic() + self._length_s

    def worked(self) -> None:
        """Do not wait."""
        self._length_s = self._until = 0.0
