"""Settings: all that is wrong is said at once, before anything is asked of AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nightshift.config.settings import SAGEMAKER_OPTIONS
from nightshift.errors import ConfigError
from nightshift.platforms.sagemaker.config import SageMakerConfig

GOOD = {
    "role_arn": "arn:aws:iam::123456789012:role/nightshift-jobs",
    "jobs_uri": "s3://nightshift-jobs/prod/",
    "image": "nightshift:1",
}


def read(
    extra: dict[str, Any] | None = None, region: str = "eu-central-1", **options: str
) -> SageMakerConfig:
    return SageMakerConfig.read(extra or {}, options, "aws_jobs", region)


def test_every_missing_setting_is_named_in_one_error() -> None:
    with pytest.raises(ConfigError) as told:
        read(region="")
    for name in ("role_arn", "jobs_uri", "image", "region_name", "aws_jobs", "sagemaker_<name>"):
        assert name in str(told.value)


def test_an_option_wins_over_the_connection_and_an_empty_one_does_not() -> None:
    config = read(GOOD, image="nightshift:2", serve_image="")
    assert (config.image, config.serve_image, config.jobs_uri) == (
        "nightshift:2",
        "",
        "s3://nightshift-jobs/prod",
    )


def test_words_pairs_and_numbers_come_as_text_too() -> None:
    config = read(
        GOOD,
        subnets="subnet-1, subnet-2",
        security_group_ids="sg-1",
        tags="cost-centre=ml, owner=flights",
        network_isolation="true",
        volume_gib="50",
    )
    assert config.subnets == ("subnet-1", "subnet-2")
    assert config.tags == {"cost-centre": "ml", "owner": "flights"}
    assert (config.network_isolation, config.volume_gib) == (True, 50)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"subnet": "subnet-1"}, "did you mean subnets"),
        ({"role_arn": "nightshift"}, "role_arn: "),
        ({"jobs_uri": "/var/jobs"}, "jobs_uri: "),
        ({"subnets": "subnet-1"}, "belong together"),
        ({"debugger_rules": "Overfit"}, "debugger_image"),
        ({"retry_attempts": 31}, "retry_attempts: "),
        ({"keep_alive_s": -1}, "keep_alive_s: "),
        ({"tags": {str(number): "x" for number in range(50)}}, "tags: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read({**GOOD, **wrong})


def test_the_connection_may_hold_its_settings_as_text() -> None:
    assert SageMakerConfig.read(json.dumps(GOOD), {}, "aws_jobs", "eu-central-1") == read(GOOD)


@pytest.mark.parametrize("extra", ["role_arn=x", "[1, 2]", ["role_arn"], 7], ids=str)
def test_settings_that_are_no_object_are_told_how_to_be_one(extra: Any) -> None:
    with pytest.raises(ConfigError, match=r"aws_jobs.*no JSON object.*role_arn"):
        SageMakerConfig.read(extra, {}, "aws_jobs", "eu-central-1")


def test_every_setting_is_an_option_of_airflow_cfg() -> None:
    assert set(SAGEMAKER_OPTIONS) == set(SageMakerConfig.model_fields)
