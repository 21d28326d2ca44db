"""The Terraform configuration for tests: a copy that is ready to run, and its policies, rendered."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.moto import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SOURCE", "Terraform", "policy_values", "rendered", "terraform_in"]

SOURCE = Path(__file__).resolve().parents[2] / "include" / "terraform" / "aws"
_PROVIDER = "registry.terraform.io/hashicorp/aws"
_MIRRORS = (
    "/opt/tf-plugins",
    "~/.terraform.d/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
)
_HOLE = re.compile(r"\$\{(?:jsonencode\((\w+)\)|(\w+))\}")


def rendered(policy: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """``policies/<policy>.json.tftpl`` as ``templatefile`` renders it: names, and lists by ``jsonencode``."""
    text = (SOURCE / "policies" / f"{policy}.json.tftpl").read_text()
    filled = _HOLE.sub(lambda hole: json.dumps(values[hole[1]]) if hole[1] else str(values[hole[2]]), text)
    found: dict[str, Any] = json.loads(filled)
    return found


def policy_values(**others: str) -> dict[str, Any]:
    """What roles.tf hands to the policies of the deployment ``test``."""
    sagemaker = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
    tables = [f"flight_delays/{table}" for table in ("clean", "planes", "weather")]
    bucket = f"arn:aws:s3:::nightshift-test-{ACCOUNT}"
    jobs = ("hyper-parameter-tuning-job", "model", "training-job", "transform-job")
    endpoints = ("endpoint", "endpoint-config", "model", "monitoring-schedule")
    alarms = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm"
    alarm_names = (
        "TargetTracking-endpoint/flight-delays-*",
        "flight-delays-*-errors",
        "flight-delays-*-latency",
    )
    ec2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
    return {
        "account": ACCOUNT,
        "alarm_arns": [f"{alarms}:{name}" for name in alarm_names],
        "deployment": "test",
        "endpoint_arns": [f"{sagemaker}:{kind}/*" for kind in endpoints],
        "glue_database": "nightshift_test",
        "job_arns": [f"{sagemaker}:{kind}/*" for kind in jobs],
        "jobs_arn": f"{bucket}-jobs",
        "jobs_prefix": "jobs",
        "jobs_role_arn": f"arn:aws:iam::{ACCOUNT}:role/nightshift-test-jobs",
        "key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1",
        "lake_arn": f"{bucket}-lake",
        "landing_arn": f"{bucket}-landing",
        "log_groups_arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/*",
        "partition": "aws",
        "region": REGION,
        "repository_arns": [f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/nightshift-test/jobs"],
        "security_group_arns": [f"{ec2}:security-group/sg-1"],
        "subnet_arns": [f"{ec2}:subnet/subnet-1"],
        "table_objects": [f"{bucket}-lake/{table}/*" for table in tables],
        "table_prefixes": [f"{table}/*" for table in tables],
        "workgroup": "nightshift-test",
        **others,
    }


@dataclass(frozen=True, slots=True)
class Terraform:
    """Terraform in a folder that has been initialised."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *words: str, timeout_s: float = 200, expect: int = 0) -> str:
        """Run a command; its output, which is the message where it does not end as expected."""
        ended = subprocess.run(
            ["terraform", *words],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert ended.returncode == expect, (
            f"{words}: {ended.returncode}\n{ended.stdout[-6000:]}{ended.stderr[-6000:]}"
        )
        return ended.stdout


def terraform_in(folder: Path) -> Terraform:
    """A copy of the configuration in ``folder``, with its provider; skips where one of them cannot be had."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    copy = folder / "aws"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    found = Terraform(copy, {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", **_provider_from(folder)})
    try:
        found.run("init", "-backend=false", "-input=false", "-no-color")
    except AssertionError as error:
        last = str(error).strip().splitlines()[-12:]
        pytest.skip(f"the provider hashicorp/aws cannot be had here: {' '.join(last)}")
    return found


def _provider_from(folder: Path) -> dict[str, str]:
    """What points Terraform at a mirror on this machine, where there is one; else it asks its registry."""
    said = os.environ.get("TF_CLI_CONFIG_FILE")
    if said and Path(said).is_file():
        return {}
    settings = folder / "terraform.rc"
    mirrors = [Path(each).expanduser() for each in _MIRRORS]
    mirror = next((each for each in mirrors if (each / _PROVIDER).is_dir()), None)
    block = f'filesystem_mirror {{\n    path = "{mirror}"\n  }}' if mirror else "direct {}"
    settings.write_text(f"provider_installation {{\n  {block}\n}}\n")
    return {"TF_CLI_CONFIG_FILE": str(settings)}
