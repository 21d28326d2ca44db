"""Two real models of flight_delays on one holdout: makes the sample of ``nightshift gate simulate`` again.

``python -m benchmarks.record_predictions`` trains for two neighbouring nights with the pipeline file's own
hyperparameters, in a temporary home and without Airflow, scores the later night's holdout days with both
models and writes what the evaluation job left to ``include/samples/flight_delays_predictions.parquet``.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["main"]

CHAMPION, CHALLENGER = "2013-01-28", "2013-01-29"
PIPELINE = "flight_delays"


def main() -> None:
    """Record them; in about a minute."""
    from benchmarks.plain_night import PlainNight
    from nightshift.backfill.days import ingest_days
    from nightshift.config.loader import load_pipeline
    from nightshift.config.partitions import days
    from nightshift.config.settings import Settings
    from nightshift.embedded.sample_data import FIRST_DAY, seed_landing
    from nightshift.hooks.storage import landing_zone

    with tempfile.TemporaryDirectory(prefix="nightshift-record-") as folder:
        home = Path(folder)
        settings = Settings.from_lookup({"home": str(home)}.get)
        pipeline = load_pipeline(settings.pipelines_dir / f"{PIPELINE}.yaml")
        seed_landing(landing_zone(settings), FIRST_DAY, CHALLENGER)
        found = ingest_days(pipeline, days(FIRST_DAY, CHALLENGER), settings)
        assert all(day.is_good for day in found), [day.line() for day in found if not day.is_good]
        nights = {key: PlainNight(pipeline, settings, key, home / key) for key in (CHAMPION, CHALLENGER)}
        models = {key: night.job("train", night.splits(), {}) / "model" for key, night in nights.items()}
        both = {"models/challenger": models[CHALLENGER], "models/champion": models[CHAMPION]}
        night = nights[CHALLENGER]
        sample = settings.project / "include" / "samples" / f"{PIPELINE}_predictions.parquet"
        evaluated = night.job("evaluate", night.only_holdout(), {}, both)
        _write(evaluated / "predictions.parquet", sample)


def _write(source: Path, target: Path) -> None:
    import pyarrow.parquet as pq

    target.parent.mkdir(exist_ok=True)
    pq.write_table(pq.read_table(source), target, compression="zstd", compression_level=19)
    print(f"{target}: {target.stat().st_size // 1024} KiB, {pq.read_metadata(target).num_rows} rows")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
