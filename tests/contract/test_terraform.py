"""The Terraform configuration: its own tests without an account, and applied on moto."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.config.loader import load_all
from nightshift.config.settings import SAGEMAKER_OPTIONS, Settings
from tests.fakes.moto import ACCOUNT, moto_running
from tests.fakes.terraform import SOURCE, Terraform, policy_values, rendered, terraform_in

if TYPE_CHECKING:
    from pathlib import Path

_ON_MOTO = """
provider "aws" {
  access_key                  = "test"
  secret_key                  = "test"
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
}
"""
_ANSWERS = {
    "deployment": "test",
    "endpoints": True,
    "airflow_principals": [f"arn:aws:iam::{ACCOUNT}:role/workers"],
    "reader_principals": [f"arn:aws:iam::{ACCOUNT}:root"],
    "subnet_ids": ["subnet-1"],
    "security_group_ids": ["sg-1"],
    "force_destroy": True,
    # Moto knows no notifications of budgets, and the provider waits a minute for a lifecycle; the tests
    # without an account look at both.
    "monthly_budget_usd": 0,
    "lifecycle_rules": False,
}


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return terraform_in(tmp_path_factory.mktemp("terraform"))


def test_the_files_are_formatted_and_every_rule_holds_without_an_account(terraform: Terraform) -> None:
    terraform.run("fmt", "-check", "-recursive")
    assert "0 failed" in terraform.run("test", "-no-color")


@pytest.mark.server
def test_it_applies_once_and_then_changes_nothing(terraform: Terraform, tmp_path: Path) -> None:
    (terraform.folder / "moto_override.tf").write_text(_ON_MOTO)
    (terraform.folder / "terraform.tfvars.json").write_text(json.dumps(_ANSWERS))
    with moto_running(tmp_path) as moto:
        applied = Terraform(terraform.folder, {**terraform.environment, "AWS_ENDPOINT_URL": moto.endpoint})
        applied.run("apply", "-auto-approve", "-input=false", "-no-color")
        applied.run("plan", "-detailed-exitcode", "-input=false", "-no-color")  # 2 would say: changes
        made = json.loads(applied.run("show", "-json"))["values"]
    outputs = {name: each["value"] for name, each in made["outputs"].items()}
    _options_are_ours(outputs)
    _policies_are_those_that_the_tests_read(made["root_module"]["resources"])


def _options_are_ours(outputs: dict[str, Any]) -> None:
    options = outputs["nightshift_options"]
    settings = Settings.from_lookup(options.get)
    assert (settings.lake_uri, settings.deployment) == (options["lake_uri"], "test")
    assert settings.glue_database == "nightshift_test"
    strange = {name.removeprefix("sagemaker_") for name in options if name.startswith("sagemaker_")}
    assert strange == set(settings.sagemaker) <= set(SAGEMAKER_OPTIONS)
    connection = json.loads(outputs["airflow_connection"])
    assert connection["extra"]["role_arn"] == outputs["roles"]["airflow"]


def _policies_are_those_that_the_tests_read(resources: list[dict[str, Any]]) -> None:
    made = {each["index"]: each for each in resources if each["address"].startswith("aws_iam_policy.all")}
    key = next(each for each in resources if each["type"] == "aws_kms_key")["values"]["arn"]
    for name, each in made.items():
        assert json.loads(each["values"]["policy"]) == rendered(name, policy_values(key_arn=key)), name


def test_the_pipelines_that_ship_are_those_that_jobs_may_read() -> None:
    """The default of the variable ``pipelines``; a new pipeline has to be let in here too."""
    good, _ = load_all(Settings.from_lookup({}.get))
    text = (SOURCE / "variables.tf").read_text()
    for pipeline in good:
        references = ", ".join(f'"{name}"' for name in sorted(pipeline.references))
        assert f"{pipeline.pipeline} = [{references}]" in text


def test_every_policy_fits_iam() -> None:
    for file in (SOURCE / "policies").glob("*.json.tftpl"):
        policy = rendered(file.name.removesuffix(".json.tftpl"), _everything())
        assert len(json.dumps(policy, separators=(",", ":"))) < 6144, file.name
        assert all(each["Sid"].isalnum() for each in policy["Statement"])


def _everything() -> dict[str, Any]:
    names = ("bucket_arn", "log_group_arn", "topic_arn")
    return {**policy_values(), **dict.fromkeys(names, "arn:aws:s3:::x"), "principals": {"AWS": ["x"]}}
