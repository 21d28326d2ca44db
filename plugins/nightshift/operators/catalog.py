"""Keeps the catalog in step after a task has written tables; its trouble is told, and fails nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nightshift.hooks.catalog import open_catalog
from nightshift.notifiers import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nightshift.config.settings import Settings
    from nightshift.lake.tables import Lake

__all__ = ["show_in_catalog"]

log = logging.getLogger(__name__)


def show_in_catalog(settings: Settings, lake: Lake, tables: Sequence[str]) -> None:
    """Bring these tables of the catalog into step, where there is a catalog.

    Never raises: the rows are in the lake, and the next run or ``nightshift catalog sync`` mends the rest.
    """
    try:
        catalog = open_catalog(settings)
        for each in catalog.sync(lake, tables) if catalog else ():
            log.info("Catalog: %s %s, version %d", each.table, each.change, each.version)
    except Exception as error:  # noqa: BLE001 whatever it is, the night's work is done
        log.warning(
            "The catalog %s is NOT in step with %s of %s: %s. To mend: 'nightshift catalog sync %s'",
            *(settings.glue_database, ", ".join(tables), lake.pipeline, error, lake.pipeline),
        )
        metrics.catalog_failed(lake.pipeline)
