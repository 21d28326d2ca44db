"""One resolver of partitions, one policy of retries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction

from nightshift import errors
from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.errors import PartitionKeyError
from nightshift.operators.base import is_backfill, resolve_partition, retry_policy

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")


def context(key: str | None, asked: str | None) -> Any:
    run = SimpleNamespace(partition_key=key, run_type="manual")
    return {"dag_run": run, "params": {"partition": asked}}


@pytest.mark.parametrize(
    ("key", "asked"),
    [("2013-01-05", None), (None, "2013-01-05"), ("2013-01-05", "2013-01-05")],
    ids=["key", "parameter", "both agree"],
)
def test_the_partition_is_the_key_or_the_parameter(key: str | None, asked: str | None) -> None:
    assert resolve_partition(context(key, asked), PIPELINE) == "2013-01-05"


@pytest.mark.parametrize(
    ("key", "asked", "words"),
    [
        (None, None, "has no partition"),
        ("2013-01-05", "2013-01-06", "its parameter says 2013-01-06"),
        ("2014-01-05", None, "is not a partition of flight_delays"),
    ],
    ids=["neither", "disagree", "outside"],
)
def test_a_run_without_a_clear_partition_is_refused(key: str | None, asked: str | None, words: str) -> None:
    with pytest.raises(PartitionKeyError, match=words):
        resolve_partition(context(key, asked), PIPELINE)


@pytest.mark.parametrize("name", errors.__all__)
def test_an_error_is_retried_exactly_when_its_class_says_so(name: str) -> None:
    kind = getattr(errors, name)
    # as the worker sees it: through the serialised form
    policy = ExceptionRetryPolicy.deserialize(retry_policy().serialize())
    decision = policy.evaluate(kind("x"), try_number=1, max_tries=3)
    assert decision.action is (RetryAction.RETRY if kind.retryable else RetryAction.FAIL)


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (ConnectionRefusedError(), RetryAction.RETRY),
        (TimeoutError(), RetryAction.RETRY),
        (FileNotFoundError("x"), RetryAction.FAIL),
        (KeyError("x"), RetryAction.FAIL),
        (ValueError("x"), RetryAction.FAIL),
    ],
    ids=repr,
)
def test_trouble_on_the_way_is_retried_and_a_bug_is_not(error: Exception, action: RetryAction) -> None:
    assert retry_policy().evaluate(error, try_number=1, max_tries=3).action is action


@pytest.mark.parametrize("run_type", list(DagRunType), ids=str)
def test_only_a_backfill_run_is_a_backfill(run_type: DagRunType) -> None:
    found: Any = {"dag_run": SimpleNamespace(run_type=run_type)}
    assert is_backfill(found) is (run_type.value == "backfill")
