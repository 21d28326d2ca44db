"""Two models on the same rows: point values, bounds, slices, clusters."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightshift.config.pipeline import GateConfig
from nightshift.errors import ConfigError, LakeError
from nightshift.gate.comparison import compare
from nightshift.gate.metrics import METRICS, compute
from nightshift.gate.predictions import Predictions
from tests.unit.gate.worlds import holdout

if TYPE_CHECKING:
    from pathlib import Path


def gate(**changes: Any) -> GateConfig:
    return GateConfig.model_validate({"resamples": 400, **changes})


SLICED = {"slices": {"columns": ["carrier"], "min_rows": 100}}


@pytest.mark.parametrize("metric", METRICS)
def test_a_gain_above_zero_means_better_whatever_the_direction(metric: str) -> None:
    rows = holdout(better=0.4)
    found = compare(rows, gate(), seed=1).of(metric)
    assert rows.champion is not None
    mine, theirs = compute(metric, rows.labels, rows.challenger), compute(metric, rows.labels, rows.champion)
    assert (found.challenger, found.champion) == pytest.approx((mine, theirs), abs=1e-12)
    assert found.gain == pytest.approx(mine - theirs if found.higher_is_better else theirs - mine)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.gain < found.high


def test_the_bootstraps_error_is_that_of_drawing_new_holdouts() -> None:
    drawn = [compare(holdout(seed=seed), gate(resamples=200), seed=1).of("brier") for seed in range(60)]
    truth = np.std([each.gain for each in drawn], ddof=1)
    said = np.mean([(each.high - each.low) / 2 / 1.645 for each in drawn])  # type: ignore[operator]
    assert said == pytest.approx(truth, rel=0.3)


def test_the_same_seed_says_the_same_and_slices_change_nothing_else() -> None:
    rows = holdout()
    plain = compare(rows, gate(), seed=1)
    assert plain == compare(rows, gate(), seed=1)
    assert plain.metrics == compare(rows, gate(**SLICED), seed=1).metrics
    assert plain.metrics == compare(rows, gate(**SLICED), seed=1, with_slices=False).metrics
    assert plain.metrics != compare(rows, gate(), seed=2).metrics


def test_every_slice_has_its_own_rows_and_values() -> None:
    rows = holdout()
    found = compare(rows, gate(**SLICED), seed=1).slices
    assert [each.value for each in found] == ["AA", "UA", "WN"]
    assert sum(each.rows for each in found) == len(rows)
    mine = rows.slices["carrier"] == "UA"
    known = compute("average_precision", rows.labels[mine], rows.challenger[mine])
    assert found[1].challenger == pytest.approx(known, abs=1e-12)
    assert found[1].positives == rows.labels[mine].sum()


@pytest.mark.parametrize("metric", ["average_precision", "brier"])
def test_a_slice_on_which_the_challenger_is_worse_is_found_though_it_is_better_elsewhere(metric: str) -> None:
    rows = holdout(6000, better=0.3)
    broken = rows.slices["carrier"] == "WN"
    noise = np.random.default_rng(3).random(len(rows))
    rows = replace(rows, challenger=np.where(broken, noise, rows.challenger))
    found = {each.value: each for each in compare(rows, gate(metric=metric, **SLICED), seed=1).slices}
    assert [value for value, each in found.items() if each.regressed] == ["WN"]
    adjusted, plain = found["WN"].p_adjusted, found["WN"].p_worse
    assert adjusted is not None
    assert plain is not None
    assert plain <= adjusted <= 0.05


def test_a_regression_within_what_is_allowed_is_none() -> None:
    rows = holdout(6000, better=-0.3)
    strict, lax = (
        compare(rows, gate(slices={"columns": ["carrier"], "max_regression": allowed}), seed=1).slices
        for allowed in (0.0, 0.5)
    )
    assert any(each.regressed for each in strict)
    assert not any(each.regressed for each in lax)


def test_a_small_slice_is_shown_and_judges_nothing() -> None:
    rows = holdout()
    found = compare(rows, gate(slices={"columns": ["hour"], "min_rows": 5000}), seed=1).slices
    assert {each.note for each in found} == {"too few rows to judge"}
    assert not any(each.regressed or each.p_worse is not None for each in found)
    assert all(each.gain is not None for each in found)


def test_more_slices_than_the_resamples_can_judge_are_refused_rather_than_passed_unseen() -> None:
    lax = gate(slices={"columns": ["hour"], "min_rows": 2}, resamples=200)
    with pytest.raises(ConfigError, match="slices cannot be judged with 200 resamples"):
        compare(holdout(4000), lax, seed=1)


def test_without_a_champion_the_challenger_is_measured_alone() -> None:
    found = compare(replace(holdout(), champion=None), gate(**SLICED), seed=1)
    assert all(each.challenger is not None and each.gain is None for each in found.metrics)
    assert all(each.challenger is not None and each.gain is None for each in found.slices)


def test_clusters_that_move_together_make_the_bounds_wider() -> None:
    rows = holdout(4000, days=12)
    hard = np.random.default_rng(0).normal(size=13)[[int(day[-2:]) for day in rows.partition]]
    rows = replace(rows, challenger=np.clip(rows.challenger + 0.1 * hard, 0.001, 0.999))
    one_by_one, whole = (
        compare(rows, gate(resampling=how), seed=1).of("brier") for how in ("stratified", "clustered")
    )
    assert whole.high - whole.low > 1.5 * (one_by_one.high - one_by_one.low)  # type: ignore[operator]


def test_clusters_of_a_column_are_said_in_the_method() -> None:
    found = compare(holdout(), gate(resampling="clustered", cluster="hour"), seed=1)
    assert found.method["resampling"] == "clustered: values of hour, within each partition"


def test_too_few_clusters_are_refused() -> None:
    with pytest.raises(ConfigError, match="the holdout has 5 days: 8 clusters are needed at least"):
        compare(holdout(), gate(resampling="clustered"), seed=1)


@pytest.mark.parametrize("column", ["carrier", "partition"])
def test_too_few_clusters_within_a_day_are_refused_however_many_days_there_are(column: str) -> None:
    rows = holdout(4000, days=12)
    rows = replace(rows, slices={**rows.slices, "partition": rows.partition})
    with pytest.raises(ConfigError, match=f"of {column} on one of its days: 8 clusters are needed"):
        compare(rows, gate(resampling="clustered", cluster=column), seed=1)


def test_a_column_that_was_not_written_is_refused() -> None:
    with pytest.raises(ConfigError, match="no column 'tailnum'"):
        compare(holdout(), gate(slices={"columns": ["tailnum"]}), seed=1)


def test_one_class_alone_says_what_cannot_be_said_and_stays_json() -> None:
    rows = holdout(300)
    found = compare(replace(rows, labels=np.zeros(len(rows))), gate(), seed=1)
    assert found.of("roc_auc").gain is None
    assert found.of("brier").gain is not None
    json.dumps(found.to_dict(), allow_nan=False)


def test_predictions_are_read_as_the_job_wrote_them(tmp_path: Path) -> None:
    rows = holdout(50)
    table = {
        "partition": rows.partition,
        "row_id": np.arange(50),
        "label": rows.labels.astype(np.int8),
        "challenger": rows.challenger,
        "champion": rows.champion,
        "slice_carrier": pa.array(rows.slices["carrier"]).dictionary_encode(),
    }
    pq.write_table(pa.table(table), tmp_path / "predictions.parquet")
    found = Predictions.read(tmp_path / "predictions.parquet", ["carrier"])
    assert found.partition.tolist() == rows.partition.tolist()
    assert found.slices["carrier"].tolist() == rows.slices["carrier"].tolist()
    assert (found.labels == rows.labels).all()
    with pytest.raises(LakeError, match="no column slice_origin"):
        Predictions.read(tmp_path / "predictions.parquet", ["carrier", "origin"])
    (tmp_path / "broken.parquet").write_bytes(b"no")
    with pytest.raises(LakeError, match="holds no predictions"):
        Predictions.read(tmp_path / "broken.parquet")
