"""Two small patches that let Great Expectations 1.24 run on DuckDB; the one place that knows the names.

GX keeps no connection open for a dialect it does not know, and has no regular expressions for it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

__all__ = ["teach_duckdb"]


@lru_cache(maxsize=1)
def teach_duckdb() -> None:
    """Patch GX once in this process.

    :raises ConfigError: when the installed GX is not the one whose private names these are.
    """
    from nightshift.validation.gx import check_version

    check_version()
    _keep_connection()
    _match_regexes()


def _keep_connection() -> None:
    import great_expectations.execution_engine.sqlalchemy_execution_engine as engine

    original = engine._dialect_requires_persisted_connection

    def requires(connection_string: Any = None, credentials: Any = None, url: Any = None) -> bool:
        if str(connection_string or url or "").startswith("duckdb"):
            return True
        return bool(original(connection_string=connection_string, credentials=credentials, url=url))

    module: Any = engine
    module._PERSISTED_CONNECTION_DIALECTS = (*engine._PERSISTED_CONNECTION_DIALECTS, "duckdb")
    module._dialect_requires_persisted_connection = requires


def _match_regexes() -> None:
    import sqlalchemy as sa
    from great_expectations.expectations.metrics import util
    from great_expectations.expectations.metrics.column_map_metrics import column_values_match_regex as match
    from great_expectations.expectations.metrics.column_map_metrics import (
        column_values_not_match_regex as no_match,
    )

    original = util.get_dialect_regex_expression

    def expression(column: Any, regex: str, dialect: Any, positive: bool = True) -> Any:
        name = str(getattr(getattr(dialect, "dialect", dialect), "name", dialect))
        if "duckdb" not in name:
            return original(column, regex, dialect, positive)
        found = sa.func.regexp_matches(column, sa.literal(regex))
        return found if positive else sa.not_(found)

    modules: tuple[Any, ...] = (util, match, no_match)
    for module in modules:
        module.get_dialect_regex_expression = expression
