"""The same promises on PySpark, and the same numbers as DuckDB; needs the extra ``spark`` and Java."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pyspark")

from pandas.testing import assert_frame_equal

from jobs import features
from tests.unit.jobs.feature_contract import FeatureContract

if TYPE_CHECKING:
    from jobs.contract import JobSpec
    from tests.fakes.job_inputs import JobInputs


class TestPySpark(FeatureContract):
    """The engine of a cluster, here on this machine."""

    engine = "pyspark"

    def test_both_engines_give_the_same_numbers(self, spec: JobSpec, job_inputs: JobInputs) -> None:
        days = job_inputs.partitions[8:12]
        ours = features.build(spec, job_inputs.folder, days)
        duckdb = replace(spec, features=replace(spec.features, engine="duckdb"))
        assert_frame_equal(ours, features.build(duckdb, job_inputs.folder, days), rtol=1e-12)
