"""Trouble on request: what shall go wrong next, with which call or job, and how often."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["CALL_FAULTS", "JOB_FAULTS", "Fault", "Faults"]

# Answered by the front door, whatever the service.
CALL_FAULTS = ("throttling", "server_error", "lost_reply", "quota", "slow")
# They happen to a job after its Create call was answered.
JOB_FAULTS = ("capacity", "internal_error", "slow_start", "spot_interruption")


@dataclass(slots=True)
class Fault:
    """One order for trouble.

    :param operation: the calls it is for, as a pattern; for faults of jobs it defaults to every job.
    :param times: how often it happens before it is used up.
    :param job: a pattern for the job's name.
    :param where: patterns for request members, with dots: ``{"ResourceConfig.InstanceType": "ml.p3*"}``.
    :param seconds: how long ``slow`` and ``slow_start`` take.
    :param after_s: for ``spot_interruption``, seconds of training before it comes.
    """

    fault: str
    operation: str = ""
    times: int = 1
    job: str = "*"
    where: dict[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    after_s: float = 0.0

    def __post_init__(self) -> None:
        if self.fault not in (*CALL_FAULTS, *JOB_FAULTS):
            raise ValueError(f"no fault {self.fault!r}; there are {', '.join((*CALL_FAULTS, *JOB_FAULTS))}")
        if self.fault in CALL_FAULTS and not self.operation:
            raise ValueError(f"{self.fault} needs an operation, for example CreateTrainingJob")

    def fits(self, operation: str, name: str, parameters: dict[str, Any]) -> bool:
        """Whether it is meant for that call or job."""
        return (
            fnmatchcase(operation, self.operation or "*")
            and fnmatchcase(name, self.job)
            and all(fnmatchcase(_at(parameters, path), p) for path, p in self.where.items())
        )


class Faults:
    """The orders that are not used up; ``take`` uses one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Fault] = []

    def add(self, order: dict[str, Any]) -> Fault:
        """Take an order as the HTTP call brings it.

        :raises ValueError: for a fault, or a word in the order, that does not exist.
        """
        try:
            fault = Fault(**order)
        except TypeError as error:
            raise ValueError(f"{error}; an order has {', '.join(Fault.__slots__)}") from None
        with self._lock:
            self._orders.append(fault)
        return fault

    def take(
        self,
        faults: tuple[str, ...],
        operation: str,
        parameters: dict[str, Any],
        name: str = "",
        elapsed_s: float = 0,
    ) -> Fault | None:
        """The first order of one of those kinds that fits; it counts as used once more."""
        with self._lock:
            for order in self._orders:
                due = order.fault in faults and order.after_s <= elapsed_s
                if due and order.fits(operation, name, parameters):
                    order.times -= 1
                    self._orders = [left for left in self._orders if left.times > 0]
                    return order
        return None

    def clear(self) -> None:
        """Forget every order."""
        with self._lock:
            self._orders = []


def _at(parameters: Any, path: str) -> str:
    for step in path.split("."):
        parameters = parameters.get(step, "") if isinstance(parameters, dict) else ""
    return str(parameters)
