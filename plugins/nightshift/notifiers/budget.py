"""Tells, once a month, that a pipeline's jobs have cost more than its budget."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from nightshift.errors import NightshiftError
from nightshift.hooks.settings import current_settings
from nightshift.notifiers.alerts import tell
from nightshift.notifiers.messages import budget_passed

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.tables import Lake

__all__ = ["check_budget"]

log = logging.getLogger(__name__)


def check_budget(pipeline: Pipeline, lake: Lake, *, month: str = "") -> None:
    """Tell when the month's jobs have cost more than ``alerts.budget_usd_per_month``.

    To be called after a job's cost was recorded. Never raises: the job that was the last straw has its
    result, and the next job looks again.

    :param month: ``2026-11``; empty means the current one (UTC).
    """
    from nightshift.lake.spend import month_of, month_usd

    budget = pipeline.alerts.budget_usd_per_month
    if budget is None:
        return
    month = month or month_of(time.time())
    try:
        spent = month_usd(lake, month)
    except NightshiftError as error:
        log.warning("The spend of %s in %s cannot be read: %s", pipeline.pipeline, month, error)
        return
    log.info("%s has cost %.2f of %.2f USD in %s", pipeline.pipeline, spent, budget, month)
    if spent > budget:
        message = budget_passed(pipeline.pipeline, month, spent, budget, current_settings().ui_url)
        tell(pipeline, message, cause=f"budget:{month}")
