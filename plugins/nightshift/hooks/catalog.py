"""From settings to a catalog that is signed in, with the lake's own connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nightshift.catalog.glue import GlueCatalog
    from nightshift.config.settings import Settings

__all__ = ["open_catalog"]


def open_catalog(settings: Settings) -> GlueCatalog | None:
    """The Glue database of this deployment, None where none is set."""
    if not settings.glue_database:
        return None
    from nightshift.catalog.glue import GlueCatalog, read_tags
    from nightshift.hooks.sagemaker import aws_clients

    tags = read_tags(settings.lake_formation_tags)
    return GlueCatalog(aws_clients(settings.lake_conn_id), settings.glue_database, tags)
