"""What an endpoint needs is looked at before, and its monitoring is switched as the file says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from nightshift.config.pipeline import EndpointConfig
from nightshift.errors import CapacityUnavailable, ConfigError, PlatformUnavailable
from nightshift.platforms.endpoints import EndpointSpec
from nightshift.platforms.sagemaker import endpoint_requests as requests
from nightshift.platforms.sagemaker.config import SageMakerConfig
from nightshift.platforms.sagemaker.endpoint import SageMakerEndpoints
from nightshift.platforms.sagemaker.prices import read_prices

CONFIG = SageMakerConfig(
    role_arn="arn:aws:iam::123456789012:role/jobs", jobs_uri="s3://jobs/prod", image="an-image"
)
WITH_IMAGE = CONFIG.model_copy(update={"monitor_image": "monitor"})


def spec(*, enabled: bool, **machine: Any) -> EndpointSpec:
    section = {"capture": {}, "monitoring": {"enabled": enabled}, "machine": machine}
    return EndpointSpec("end-0123456789ab", EndpointConfig(**section), {})


class Schedules:
    """The one schedule of an account; what is asked of it is kept."""

    def __init__(self, status: str = "", config: Any = None) -> None:
        self.status, self.config, self.calls = status, config, []  # type: ignore[var-annotated]

    def describe_monitoring_schedule(self, **_: Any) -> Any:
        if not self.status:
            raise ClientError({"Error": {"Code": "ResourceNotFound", "Message": "not found"}}, "Describe")
        return {
            "MonitoringScheduleName": "end-0123456789ab",
            "MonitoringScheduleStatus": self.status,
            "MonitoringScheduleConfig": self.config,
        }

    def __getattr__(self, name: str) -> Any:
        return lambda **_: self.calls.append(name.removesuffix("_monitoring_schedule"))


def endpoints(client: Any, config: SageMakerConfig = WITH_IMAGE) -> SageMakerEndpoints:
    site: Any = SimpleNamespace(
        config=config, client=lambda _: client, prices=read_prices("", "eu-central-1")
    )
    return SageMakerEndpoints(site)


def test_monitoring_without_an_image_is_refused_before_anything_is_asked_of_aws() -> None:
    client = Schedules()
    with pytest.raises(ConfigError, match="no monitor_image is set"):
        endpoints(client, CONFIG).check_settings(spec(enabled=True))
    endpoints(client, CONFIG).check_settings(spec(enabled=False))
    with pytest.raises(CapacityUnavailable):
        endpoints(client).check_settings(spec(enabled=True, cpus=100_000))
    assert client.calls == []


@pytest.mark.parametrize(
    ("enabled", "status", "calls"),
    [
        (True, "", ["create"]),
        (True, "Pending", []),
        (True, "Scheduled", []),
        (True, "Stopped", ["start"]),
        (False, "", []),
        (False, "Scheduled", ["stop"]),
        (False, "Stopped", []),
    ],
)
def test_a_schedule_is_made_started_and_stopped_as_the_file_says(
    enabled: bool, status: str, calls: list[str]
) -> None:
    request = requests.monitoring_schedule(spec(enabled=True), WITH_IMAGE)
    client = Schedules(status, request["MonitoringScheduleConfig"])
    endpoints(client)._monitor(spec(enabled=enabled))
    assert client.calls == calls


@pytest.mark.parametrize("enabled", [True, False])
def test_a_schedule_that_is_pending_is_waited_for(enabled: bool) -> None:
    client = Schedules("Pending", {"another": "configuration"})
    with pytest.raises(PlatformUnavailable, match="still Pending"):
        endpoints(client)._monitor(spec(enabled=enabled))
    assert client.calls == []
