"""How much may run at once: pools, made when Airflow starts and one is missing, and never changed then."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from airflow.listeners import hookimpl

__all__ = ["BACKFILL_POOL", "POOLS", "PoolMaker", "job_pool"]

log = logging.getLogger(__name__)

BACKFILL_POOL = "nightshift_backfill"


@dataclass(frozen=True, slots=True)
class _Pool:
    slots: int
    description: str


POOLS = {
    "nightshift_local": _Pool(4, "Jobs of nights and manual runs on this machine."),
    "nightshift_sagemaker": _Pool(8, "Jobs of nights and manual runs on SageMaker: keep below its quotas."),
    BACKFILL_POOL: _Pool(2, "Chunks and jobs of backfills: what they may take from the nights, at most."),
}
"""Slots to begin with; a deferred task keeps its slot, for its job goes on. Change them in Airflow."""


def job_pool(platform: str) -> str:
    """The pool of a platform's jobs."""
    return f"nightshift_{platform}"


class PoolMaker:
    """A listener: Airflow tells it about every component that starts."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Make the missing pools where the component can reach the database; a task cannot."""
        from airflow.jobs.job import Job

        if isinstance(component, Job):
            create_missing_pools()


def create_missing_pools() -> None:
    """Make the pools that are not there; what is there keeps the slots that somebody gave it."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import IntegrityError

    with create_session() as session:
        present = set(session.scalars(select(Pool.pool)))
    for name, pool in POOLS.items():
        if name in present:
            continue
        try:
            with create_session() as session:
                session.add(
                    Pool(pool=name, slots=pool.slots, description=pool.description, include_deferred=True)
                )
        except IntegrityError:
            continue  # another component was faster
        log.info("Made pool %s with %d slots", name, pool.slots)
