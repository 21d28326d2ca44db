"""A loopback AWS: SeaweedFS for S3, moto for most services, and SageMaker jobs that really run."""

from __future__ import annotations

from localcloud.aws.client import LoopbackAws, at, running

__all__ = ["LoopbackAws", "at", "running"]
