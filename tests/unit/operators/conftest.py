"""A task on real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nightshift.operators import job as job_module
from nightshift.platforms.base import JobSpec
from nightshift.platforms.local import WARM
from nightshift.triggers import job as trigger_module
from tests.fakes.toy_jobs import make_toy_jobs
from tests.unit.operators.job_bench import Bench, FaultyPlatform

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One task whose jobs are toys."""
    monkeypatch.delenv(WARM, raising=False)
    jobs = make_toy_jobs(tmp_path / "toy")
    platform = FaultyPlatform(tmp_path / "home", jobs, grace_s=0.5, usd_per_hour=3.6, gpus=0)
    monkeypatch.setattr(trigger_module, "connect", lambda *_: platform)
    monkeypatch.setattr(job_module, "settling_s", lambda: 0.0)
    spec = JobSpec("train", {"counter": str(tmp_path / "starts")}, (), code_sha256="0")
    return Bench(platform, spec, tmp_path / "starts")
