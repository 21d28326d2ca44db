"""Leaves a version's story where people look for it: files with its run, descriptions, a picture."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from nightshift.errors import RegistryError
from nightshift.platforms.code import code_sha256
from nightshift.provenance import card, history
from nightshift.provenance.page import html
from nightshift.provenance.why import story_of
from nightshift.registry.artifacts import Artifacts
from nightshift.registry.champion import champion_version
from nightshift.registry.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline
    from nightshift.provenance.why import Story
    from nightshift.registry.ledger import Ledger
    from nightshift.registry.models import Models, ModelVersion

__all__ = ["PAGE", "PICTURE", "STORY", "leave_story", "tell_change", "tell_story"]

STORY, PAGE, PICTURE = "why.json", "why.html", "pictures/history.png"
GATE = "gate/gate.html"
"""The gate's own page, where the promote task left it."""
_LOG = logging.getLogger(__name__)


def tell_story(
    tracking: Tracking,
    models: Models,
    ledger: Ledger,
    version: ModelVersion,
    *,
    pipeline: Pipeline,
    jobs_dir: Path,
) -> None:
    """:func:`leave_story`, for a night: what goes wrong is a warning, for the night's work is done."""
    try:
        leave_story(tracking, models, ledger, version, pipeline=pipeline, jobs_dir=jobs_dir)
    except Exception as error:  # noqa: BLE001 - a story that is not told must not undo a decision that was made
        _LOG.warning(
            "The page of %s version %s in MLflow was not brought up to date (%s: %s): "
            "'nightshift why %s %s' does it later",
            *(version.name, version.version, type(error).__name__, error, version.name, version.version),
        )


def tell_change(
    models: Models, ledger: Ledger, versions: Sequence[str], *, pipeline: Pipeline, jobs_dir: Path
) -> None:
    """:func:`tell_story` of the versions that a change of the champion is about; "" is none."""
    try:
        known = {each.version: each for each in models.versions(ledger.model)}
    except RegistryError as error:
        _LOG.warning("The pages of %s in MLflow were not brought up to date: %s", ledger.model, error)
        return
    tracking = Tracking(models.uri)
    for version in dict.fromkeys(each for each in versions if each in known):
        tell_story(tracking, models, ledger, known[version], pipeline=pipeline, jobs_dir=jobs_dir)


def leave_story(
    tracking: Tracking,
    models: Models,
    ledger: Ledger,
    version: ModelVersion,
    *,
    pipeline: Pipeline,
    jobs_dir: Path,
) -> Story:
    """Write ``why.json``, ``why.html`` and ``pictures/history.png`` with the version's run, and describe the
    version and its model; may be called again whenever something was decided.

    :raises RegistryError: when MLflow cannot be reached, or the ledger is broken.
    """
    links = _links(tracking, models, version)
    story = story_of(models, ledger, version, code_today=code_sha256(jobs_dir), links=links)
    entries, champion = ledger.entries(), champion_version(models, ledger)
    metric = pipeline.gate.metric
    points = history.points_of(models.versions(version.name), entries, metric, champion)
    picture = history.draw(version.name, metric, points, version.version, story.primary.get("champion"))
    files = {
        STORY: json.dumps(story.to_dict(), indent=1).encode(),
        PAGE: html(story, picture),
        PICTURE: picture,
    }
    if version.run_id:
        Artifacts(models.uri).write(version.run_id, files)
    shown = Artifacts(models.uri).url(version.run_id, PICTURE) if version.run_id else ""
    models.describe(version.name, card.of_version(story, shown), version.version)
    models.describe(version.name, card.of_model(pipeline.description, champion, entries))
    return story


def _links(tracking: Tracking, models: Models, version: ModelVersion) -> dict[str, str]:
    """Where MLflow shows the version; one that was registered by hand may have no run."""
    links = {"model version": models.page(version)}
    if not version.run_id:
        return links
    run = tracking.page(version.run_id)
    links |= {"MLflow run": run, "why": f"{run}/artifacts/{PAGE}"}
    if Artifacts(models.uri).exists(version.run_id, GATE):
        links["gate"] = f"{run}/artifacts/{GATE}"
    return links
