"""Sign-in to SageMaker: from the connection, the same in worker and triggerer, nothing asked on the way."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from botocore.stub import Stubber

from nightshift.config.settings import Settings
from nightshift.errors import ConfigError, PlatformUnavailable
from nightshift.hooks.platform import connect
from nightshift.hooks.sagemaker import aws_clients, sagemaker_platform
from nightshift.platforms.sagemaker.failures import vendor_errors
from nightshift.triggers import job as trigger_module
from nightshift.triggers.job import JobTrigger

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.platforms.base import Platform

ROLE = "arn:aws:iam::123456789012:role/nightshift-jobs"
SAGEMAKER = {"role_arn": ROLE, "jobs_uri": "s3://nightshift-jobs/prod", "image": "nightshift:1"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    given = {"home": str(tmp_path), "sagemaker_conn_id": "aws_jobs"}
    return Settings.from_lookup(given.get)


def connection(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    fields = {"conn_type": "aws", "login": "id", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_JOBS", json.dumps(fields))
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


EXTRA: dict[str, Any] = {
    "region_name": "eu-central-1",
    "endpoint_url": "http://127.0.0.1:9",
    "service_config": {"logs": {"endpoint_url": "http://127.0.0.1:10"}},
    "config_kwargs": {"retries": {"mode": "adaptive", "total_max_attempts": 9}},
    "sagemaker": SAGEMAKER,
}


def signed_in(platform: Any) -> dict[str, Any]:
    """Everything about a platform's sign-in that could differ between two processes."""
    found: dict[str, Any] = {"config": platform.config, "region": platform.region}
    for service in ("sagemaker", "logs"):
        client = platform.site.client(service)
        keys = client._request_signer._credentials.get_frozen_credentials()
        found[service] = {
            "endpoint": client.meta.endpoint_url,
            "region": client.meta.region_name,
            "keys": (keys.access_key, keys.secret_key, keys.token),
            "retries": client.meta.config.retries,
            "timeouts": (client.meta.config.connect_timeout, client.meta.config.read_timeout),
        }
    found["storage"] = dict(platform.site.store.options)
    return found


def trigger_platform(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """What a triggerer builds from what a worker handed over."""
    monkeypatch.setattr(trigger_module, "current_settings", lambda: settings)
    sent = JobTrigger({"platform": "sagemaker", "name": "toy"}, {}, deadline=0.0, poll_s=1.0).serialize()
    path, fields = json.loads(json.dumps(sent))
    module, _, name = path.rpartition(".")
    trigger = getattr(import_module(module), name)(**fields)
    found: Platform = asyncio.run(trigger._platform())
    return found


def test_worker_and_triggerer_sign_in_alike(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, **EXTRA)
    settings = replace(settings, sagemaker={"serve_image": "serve:1"})
    worker = signed_in(connect("sagemaker", settings))
    assert worker == signed_in(trigger_platform(settings, monkeypatch))
    assert worker["sagemaker"] == {
        "endpoint": "http://127.0.0.1:9",
        "region": "eu-central-1",
        "keys": ("id", "secret", None),
        "retries": {"mode": "adaptive", "total_max_attempts": 9},
        "timeouts": (10, 60),
    }
    assert worker["logs"]["endpoint"] == "http://127.0.0.1:10"
    assert worker["storage"]["aws_endpoint_url"] == "http://127.0.0.1:9"
    assert (worker["config"].role_arn, worker["config"].serve_image) == (ROLE, "serve:1")


def test_without_a_word_of_the_connection_calls_are_retried_a_few_times(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(monkeypatch, region_name="eu-central-1")
    retries = aws_clients("aws_jobs")("sagemaker").meta.config.retries
    assert (retries["mode"], retries["total_max_attempts"]) == ("standard", 6)


def test_all_that_is_missing_is_named_before_anything_is_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(monkeypatch)
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", lambda *_: pytest.fail("AWS was asked"))
    with pytest.raises(ConfigError) as told:
        sagemaker_platform(settings)
    for name in ("role_arn", "jobs_uri", "image", "region_name", "aws_jobs"):
        assert name in str(told.value)


def test_a_client_is_made_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, **EXTRA)
    platform = sagemaker_platform(settings)
    assert platform.site.client("sagemaker") is platform.site.client("sagemaker")
    assert platform.site.client("sagemaker") is not platform.site.client("logs")


@pytest.mark.parametrize(("code", "anew"), [("ExpiredTokenException", True), ("ThrottlingException", False)])
def test_clients_are_made_anew_once_their_sign_in_has_expired(
    monkeypatch: pytest.MonkeyPatch, code: str, anew: bool
) -> None:
    connection(monkeypatch, region_name="eu-central-1")
    client = aws_clients("aws_jobs")
    before = client("sagemaker"), client("logs")
    with Stubber(before[0]) as stub:
        stub.add_client_error("list_training_jobs", code, "The security token is expired", 400)
        with pytest.raises(PlatformUnavailable), vendor_errors("listing jobs"):
            before[0].list_training_jobs()
    assert [client("sagemaker") is not before[0], client("logs") is not before[1]] == [anew, anew]


def test_the_jobs_store_is_in_the_region_of_the_jobs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(monkeypatch, sagemaker=json.dumps(SAGEMAKER))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    platform = sagemaker_platform(settings)
    assert platform.region == platform.site.store.options["aws_region"] == "eu-north-1"


def test_outputs_are_brought_into_the_staging_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(monkeypatch, **EXTRA)
    platform = sagemaker_platform(settings)
    assert platform.cache == settings.staging / "outputs"
    assert (platform.name, platform.poll_s) == ("sagemaker", 10.0)
    assert [platform.name_limit(kind) for kind in ("train", "tune", "score")] == [63, 32, 60]
