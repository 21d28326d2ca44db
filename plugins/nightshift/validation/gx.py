"""The only door to Great Expectations: imported quietly, one ephemeral context a process, its two engines.

GX's own execution engines are reached through :func:`on_pandas` and :func:`on_duckdb`;
:func:`verdict` hands metrics that we counted ourselves to an expectation, which decides.
"""

from __future__ import annotations

import logging
import os
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nightshift.errors import ConfigError

# Before the import: GX logs a line for each of its 300 functions, and tells a server that it was imported.
logging.getLogger("great_expectations").setLevel(logging.WARNING)
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pandas as pd

__all__ = [
    "EXAMPLES",
    "PINNED",
    "build",
    "check_version",
    "is_row_level",
    "known_types",
    "on_duckdb",
    "on_pandas",
    "verdict",
]

PINNED = "1.24"
EXAMPLES = 20  # GX's own number of examples per expectation
_ROW_LEVEL = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
_BASIC = {"result_format": "BASIC", "partial_unexpected_count": EXAMPLES, "include_unexpected_rows": False}


def check_version(version: str = great_expectations.__version__) -> None:
    """Refuse a GX whose private names this package was not tested with.

    :raises ConfigError: for anything but 1.24.x.
    """
    if version.split(".")[:2] != PINNED.split("."):
        raise ConfigError(
            f"Great Expectations {version} is installed, this package was tested with {PINNED}.x",
            fix=f"pip install 'great-expectations=={PINNED}.*', or move the pin when its tests pass",
        )


@lru_cache(maxsize=1)
def _context() -> Any:
    check_version()
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def known_types() -> list[str]:
    """The names of every expectation that GX knows."""
    return sorted(list_registered_expectation_implementations())


def build(configuration: Mapping[str, Any]) -> Any:
    """GX's expectation of one suite entry; its errors come through as they are."""
    implementation = get_expectation_impl(configuration["type"])
    return implementation(
        **configuration["kwargs"],
        severity=configuration.get("severity", "critical"),
        meta=configuration.get("meta") or None,
        description=configuration.get("description"),
        notes=configuration.get("notes"),
    )


def is_row_level(expectation: Any) -> bool:
    """Whether an expectation judges rows one by one, so that failing rows can be told."""
    return isinstance(expectation, _ROW_LEVEL)


def verdict(expectation: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What GX's expectation says to these metrics: ``{"success": bool, "result": {...}}``.

    ``_validate`` is the method that GX documents for authors of custom expectations.
    """
    answer = expectation._validate(
        metrics=dict(metrics), runtime_configuration={"result_format": _BASIC}, execution_engine=None
    )
    return {"success": bool(answer["success"]), "result": answer.get("result") or {}}


def on_pandas(
    frame: pd.DataFrame, expectations: Iterable[Any], *, index: str | None = "row_id"
) -> list[dict[str, Any]]:
    """GX's pandas engine over a frame, one result per expectation, in their order.

    :param index: column whose values name the failing rows; None leaves them out.
    """
    form: dict[str, Any] = dict(_BASIC)
    if index is not None:
        form = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
        form["unexpected_index_column_names"] = [index]
    sources = _context().data_sources
    source = sources.add_or_update_pandas("pandas")
    asset = source.add_dataframe_asset("batch")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch(
        batch_parameters={"dataframe": frame}
    )
    try:
        return _run(batch, expectations, form)
    finally:
        sources.delete("pandas")


def on_duckdb(database: Path, table: str, expectations: Iterable[Any]) -> list[dict[str, Any]]:
    """GX's SQL engine over a table or view of a DuckDB file. Tells no failing rows.

    GX's ``unexpected_index_query`` is of no use here: for compound uniqueness it joins without a
    condition, and it forgets row conditions; :mod:`nightshift.validation.predicates` has the rows.
    """
    from nightshift.validation.duckdb_dialect import teach_duckdb

    teach_duckdb()
    sources = _context().data_sources
    source = sources.add_or_update_sql("duckdb", connection_string=f"duckdb:///{database}")
    try:
        asset = source.add_table_asset("batch", table_name=table)
        batch = asset.add_batch_definition_whole_table("whole").get_batch()
        return _run(batch, expectations, dict(_BASIC))
    finally:
        source.get_engine().dispose()
        sources.delete("duckdb")


def _run(batch: Any, expectations: Iterable[Any], form: dict[str, Any]) -> list[dict[str, Any]]:
    """Results in the order asked; GX groups them by column, so each carries its place."""
    ordered = list(expectations)
    placed = [each.copy(update={"meta": {"place": place}, "id": None}) for place, each in enumerate(ordered)]
    suite = great_expectations.ExpectationSuite(name="suite", expectations=placed)
    found = batch.validate(suite, result_format=form).results
    results: list[dict[str, Any]] = [{} for _ in ordered]
    for each in found:
        results[each.expectation_config.meta["place"]] = {
            "success": bool(each.success),
            "result": each.result or {},
            "error": _error(each.exception_info),
        }
    return results


def _error(info: Mapping[str, Any] | None) -> str:
    """The first message in GX's exception info, which is flat or keyed by metric."""
    if not info:
        return ""
    flat = [info] if "raised_exception" in info else list(info.values())
    for each in flat:
        if each.get("raised_exception"):
            return str(each.get("exception_message") or "unknown error").strip()
    return ""
