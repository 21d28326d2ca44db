"""What contract tests share."""

from __future__ import annotations

from tests.fakes.job_inputs import job_inputs

__all__ = ["job_inputs"]
