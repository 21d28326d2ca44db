"""When two trainings are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightshift.provenance.compare import compare, tolerance_of

if TYPE_CHECKING:
    from pathlib import Path

SAME: dict[str, dict[str, float | None]] = {"then": {"auc": 0.5}, "now": {"auc": 0.5}}


def written(file: Path, scores: list[float], **columns: Any) -> Path:
    rows = {"partition": ["d1", "d1", "d2"], "row_id": [0, 1, 0], "label": [0.0, 1.0, 1.0]}
    pq.write_table(pa.table({**rows, **columns, "prediction": scores}), file)
    return file


@pytest.mark.parametrize(
    ("again", "tolerance", "equal", "differing"),
    [
        ([0.1, 0.2, 0.3], 0.0, True, 0),
        ([0.1, 0.2, 0.3000001], 0.0, False, 1),
        ([0.1, 0.2, 0.3000001], 1e-4, True, 1),
        ([0.1, 0.21, 0.3], 1e-4, False, 1),
        ([0.1, float("nan"), 0.3], 1e-4, False, 1),
    ],
    ids=["same bits", "one bit", "within", "beyond", "no number"],
)
def test_every_row_counts(
    again: list[float], tolerance: float, equal: bool, differing: int, tmp_path: Path
) -> None:
    then, now = written(tmp_path / "then", [0.1, 0.2, 0.3]), written(tmp_path / "now", again)
    found = compare(SAME, then, now, tolerance)
    assert (found.equal, found.rows, found.differing) == (equal, 3, differing)
    assert found.bit_equal is (differing == 0)


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    then = written(tmp_path / "then", [0.1, 0.2, 0.3])
    turned = {"partition": ["d2", "d1", "d1"], "row_id": [0, 1, 0], "label": [1.0, 1.0, 0.0]}
    assert compare(SAME, then, written(tmp_path / "now", [0.3, 0.2, 0.1], **turned), 0.0).bit_equal


@pytest.mark.parametrize(
    "other",
    [{"label": [0.0, 0.0, 1.0]}, {"row_id": [0, 1, 5]}, {"partition": ["d1", "d1", "d3"]}],
    ids=["labels", "rows", "days"],
)
def test_other_rows_are_never_equal(other: dict[str, Any], tmp_path: Path) -> None:
    scores = [0.1, 0.2, 0.3]
    found = compare(SAME, written(tmp_path / "then", scores), written(tmp_path / "now", scores, **other), 1.0)
    assert not found.equal
    assert found.to_dict()["largest"] is None


@pytest.mark.parametrize(
    ("now", "equal"),
    [({"auc": 0.5 + 1e-6}, True), ({"auc": 0.6}, False), ({"auc": None}, False), ({}, False)],
    ids=["within", "beyond", "undefined", "gone"],
)
def test_a_metric_that_moved_is_told_and_counts(
    now: dict[str, float | None], equal: bool, tmp_path: Path
) -> None:
    then = written(tmp_path / "then", [0.1, 0.2, 0.3])
    found = compare({"then": {"auc": 0.5}, "now": now}, then, then, 1e-4)
    assert (found.equal, found.bit_equal) == (equal, False)
    assert list(found.metrics) == ["auc"]


def test_a_training_without_a_holdout_is_compared_by_its_metrics(tmp_path: Path) -> None:
    assert compare(SAME, None, tmp_path / "none", 0.0).bit_equal
    there = written(tmp_path / "now", [0.1, 0.2, 0.3])
    assert not compare(SAME, None, there, 0.0).equal
    assert not compare(SAME, there, tmp_path / "none", 0.0).equal


def test_only_kinds_of_model_with_a_stated_tolerance_may_differ_at_all() -> None:
    assert tolerance_of("hist_gradient_boosting") == tolerance_of("any other") == 0.0
    assert 0 < tolerance_of("torch_mlp") <= 1e-3
