"""Entering a cloud's stack: its home, its options, and what its loopback cloud tells of itself."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from nightshift.config.settings import Settings
from nightshift.embedded.cloud import cloud_service, enter, running_platform, stacks
from nightshift.embedded.processes import Service, Services
from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a test sets is gone after it; all state is the test's own."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["AIRFLOW__NIGHTSHIFT__HOME"] = str(tmp_path)


def test_the_local_stack_is_as_the_environment_says(tmp_path: Path) -> None:
    before = os.environ.copy()
    enter("local")
    assert os.environ == before


def test_a_platform_that_no_stack_runs_on_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'sagemeker'.*\n?.*local, sagemaker"):
        enter("sagemeker")


def test_a_clouds_stack_has_a_home_of_its_own_and_runs_every_pipeline_there(tmp_path: Path) -> None:
    enter("sagemaker")
    settings = Settings.from_environment()
    assert settings.home == tmp_path / "sagemaker"
    assert (settings.platform, settings.loopback) == ("sagemaker", "aws")


def test_what_the_loopback_cloud_wrote_down_signs_in_to_it(tmp_path: Path) -> None:
    told = {
        "options": {"lake_uri": "s3://nightshift-lake", "sagemaker_role_arn": "arn:aws:iam::1:role/jobs"},
        "environment": {"AIRFLOW_CONN_LOOPBACK": '{"conn_type": "aws"}'},
    }
    folder = tmp_path / "sagemaker" / "aws"
    folder.mkdir(parents=True)
    (folder / "aws.json").write_text(json.dumps(told))
    enter("sagemaker")
    settings = Settings.from_environment()
    assert settings.lake_uri == "s3://nightshift-lake"
    assert settings.sagemaker["role_arn"] == "arn:aws:iam::1:role/jobs"
    assert os.environ["AIRFLOW_CONN_LOOPBACK"] == '{"conn_type": "aws"}'


def test_every_stack_that_was_ever_started_is_known(tmp_path: Path) -> None:
    settings = Settings.from_environment()
    assert stacks(settings) == [settings]
    (tmp_path / "sagemaker").mkdir()
    assert [(each.home, each.loopback) for each in stacks(settings)] == [
        (tmp_path, ""),
        (tmp_path / "sagemaker", "aws"),
    ]


def test_the_loopback_cloud_keeps_its_ports_and_is_not_ready_before_it_says_so() -> None:
    enter("sagemaker")
    settings = Settings.from_environment()
    folder = settings.home / "aws"
    folder.mkdir(parents=True)
    (folder / "aws.json").write_text("{}")  # of a run that has ended
    first, second = cloud_service(settings), cloud_service(settings)
    assert first.command == second.command
    assert not first.ready()


def test_a_command_is_about_the_stack_that_runs(tmp_path: Path) -> None:
    settings = Settings.from_environment()
    assert running_platform(settings) == "local"
    services = Services(tmp_path / "sagemaker")
    services.start(Service("mlflow", ("sleep", "60"), os.environ, tmp_path, lambda: True))
    try:
        assert running_platform(settings) == "sagemaker"
    finally:
        services.stop()
    assert running_platform(settings) == "local"
