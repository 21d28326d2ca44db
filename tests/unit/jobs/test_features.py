"""The features of flight_delays on DuckDB."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from jobs import features
from jobs.contract import BadInput, JobSpec
from tests.fakes.job_inputs import job_json
from tests.unit.jobs.feature_contract import FeatureContract

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.job_inputs import JobInputs


class TestDuckDB(FeatureContract):
    """The engine by default."""

    engine = "duckdb"

    def test_the_scratch_folder_is_gone_afterwards(self, spec: JobSpec, job_inputs: JobInputs) -> None:
        features.build(spec, job_inputs.folder, ["2013-01-12"])
        assert spec.tmp is not None
        assert list(spec.tmp.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": {"module": "flight_delay"}}, "did you mean 'flight_delays'?"),
        ({"features": {"module": "flight_delays", "engine": "polars"}}, "no feature engine 'polars'"),
        ({"target": "delayed"}, "has the target 'late', not 'delayed'"),
    ],
    ids=["module", "engine", "target"],
)
def test_a_wrong_name_is_refused(
    changes: dict[str, object], message: str, job_inputs: JobInputs, tmp_path: Path
) -> None:
    spec = replace(JobSpec.from_dict(job_json(**changes)), tmp=tmp_path)
    with pytest.raises(BadInput) as caught:
        features.build(spec, job_inputs.folder, ["2013-01-12"])
    assert message in str(caught.value)
