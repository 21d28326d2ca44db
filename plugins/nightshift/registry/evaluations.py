"""Evaluations in MLflow: the newest one in which a champion was compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightshift.registry.server import connect, speaking_to

__all__ = ["Evaluated", "newest_comparison"]

_FILE = "predictions.parquet"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What one run's evaluation left: ``file`` is its predictions, on this machine."""

    run_id: str
    run_name: str
    file: Path


def newest_comparison(uri: str, pipeline: str, metric: str, folder: Path) -> Evaluated | None:
    """The newest run of ``pipeline`` that was compared with a champion, None when there is none.

    :param metric: a metric that every evaluation of the pipeline measures.
    :param folder: takes the file.
    :raises RegistryError: when MLflow cannot be reached or refuses.
    """
    client = connect(uri)
    with speaking_to(uri, f"the evaluations of {pipeline}"):
        experiment = client.get_experiment_by_name(pipeline)
        if experiment is None:
            return None
        found = client.search_runs(
            [experiment.experiment_id],
            f"metrics.compared_champion_{metric} >= 0",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        if not found or _FILE not in {each.path for each in client.list_artifacts(found[0].info.run_id)}:
            return None
        run = found[0].info
        file = client.download_artifacts(run.run_id, _FILE, str(folder))
        return Evaluated(run.run_id, run.run_name, Path(file))
