"""Fixtures of the job tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from jobs import features
from jobs.contract import JobSpec
from jobs.train import labelled
from tests.fakes.job_inputs import job_inputs, job_json

if TYPE_CHECKING:
    import pandas as pd

    from tests.fakes.job_inputs import JobInputs

__all__ = ["Splits", "job_inputs", "splits"]


@dataclass(frozen=True, slots=True)
class Splits:
    """Labelled feature rows of the fixture's days. Shared: do not change them in place."""

    train: pd.DataFrame
    validation: pd.DataFrame
    holdout: pd.DataFrame


@pytest.fixture(scope="session")
def splits(job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Feature rows of the three splits of :func:`job_json`."""
    spec = replace(JobSpec.from_dict(job_json()), tmp=tmp_path_factory.mktemp("splits"))
    days = (spec.splits.train, spec.splits.validation, spec.splits.holdout)
    frame = features.build(spec, job_inputs.folder, [day for part in days for day in part])
    return Splits(*(labelled(frame[frame["partition"].isin(part)], "late") for part in days))
