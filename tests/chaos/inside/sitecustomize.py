"""Python imports this in every process of the chaos stack: the platform with a network's moods.

The only place where the tests change product code: calls of the platform halt, fail, or lose their reply
as the run's plan says. A call that another call of the platform makes passes.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import Any

from chaos_points import halt, run_folder, take_fault

from nightshift.errors import PlatformUnavailable
from nightshift.platforms.base import JobRef, JobSpec, Platform

if os.environ.get("AIRFLOW__NIGHTSHIFT__PLATFORM") == "sagemaker":
    from nightshift.platforms.sagemaker.platform import SageMakerPlatform as Moody
else:
    from nightshift.platforms.local import LocalPlatform as Moody

_busy = threading.local()
_TIMEOUT_S = 1.5
_WORDS = {
    "429": "429 Too Many Requests: slow down",
    "500": "500 Internal Server Error",
    "timeout": f"no answer within {_TIMEOUT_S} s",
    "lost": "the connection was closed before the reply came",
}


def _run_of(platform: Platform, about: JobSpec | JobRef) -> str | None:
    """The chaos run that a call is about; what is asked before it was submitted, the worker asks."""
    spec = about if isinstance(about, JobSpec) else platform.submitted(about)
    return spec.job.get("run") if spec else os.environ.get("CHAOS_RUN")


def _moody(name: str) -> None:
    calm = getattr(Moody, name)

    @functools.wraps(calm)
    def call(self: Platform, about: JobSpec | JobRef, *args: Any, **kwargs: Any) -> Any:
        run = None if getattr(_busy, "now", False) else _run_of(self, about)
        if run is None or not run_folder(run).exists():
            return calm(self, about, *args, **kwargs)
        _busy.now = True
        try:
            halt(run, f"before-{name}")
            fault = take_fault(run, name)
            if fault and fault["error"] == "timeout":
                time.sleep(_TIMEOUT_S)
            if fault and fault["error"] != "lost":
                raise PlatformUnavailable(f"{name} of the platform: {_WORDS[fault['error']]}")
            answer = calm(self, about, *args, **kwargs)
            if fault:
                raise PlatformUnavailable(f"{name} of the platform: {_WORDS['lost']}")
            halt(run, f"after-{name}")
            return answer
        finally:
            _busy.now = False

    setattr(Moody, name, call)


for _name in ("submit", "status", "logs", "stop"):
    _moody(_name)
