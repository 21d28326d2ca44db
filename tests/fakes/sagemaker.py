"""The SageMaker platform on the loopback AWS, for tests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from nightshift.platforms.sagemaker.config import SageMakerConfig
from nightshift.platforms.sagemaker.platform import SageMakerPlatform

if TYPE_CHECKING:
    from pathlib import Path

    from localcloud.aws import LoopbackAws

__all__ = ["platform_on", "storage_options"]


def storage_options(aws: LoopbackAws) -> dict[str, str]:
    """Object store settings for the loopback's S3."""
    return {
        "aws_access_key_id": aws.access_key,
        "aws_secret_access_key": aws.secret_key,
        "aws_region": aws.region,
        "aws_endpoint_url": aws.s3_endpoint,
        "aws_allow_http": "true",
        "aws_conditional_put": "etag",
    }


def platform_on(aws: LoopbackAws, jobs_dir: Path, cache: Path, **settings: Any) -> SageMakerPlatform:
    """A platform with a folder of its own below the loopback's ``jobs_uri``.

    Its clients do not retry by themselves, so that one fault is one answer.
    """
    from botocore.config import Config

    made: dict[str, Any] = {}
    lock = threading.Lock()
    once = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=6)

    def client(service: str) -> Any:
        with lock:
            if service not in made:
                made[service] = aws.client(service, config=once)
            return made[service]

    given = {"jobs_uri": f"{aws.jobs_uri}/test-{uuid4().hex[:8]}", "poll_s": 0.1, **settings}
    config = SageMakerConfig(**{"role_arn": aws.role_arn, "image": aws.image, **given})
    return SageMakerPlatform(
        config, aws.region, client, lambda: storage_options(aws), jobs_dir=jobs_dir, cache=cache
    )
