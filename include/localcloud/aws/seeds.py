"""What a fresh account holds: buckets, the jobs' role, a key, a repository and one image; and the card."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.aws.home import (
    ACCESS_KEY,
    ACCOUNT,
    BUCKETS,
    IMAGE,
    REGION,
    ROLE,
    SECRET_KEY,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.aws.home import Settings

__all__ = ["CONNECTION_ID", "card", "seed"]

CONNECTION_ID = "nightshift_aws"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def seed(settings: Settings, client: Callable[[str], Any]) -> None:
    """Create what is missing; what moto forgot at a restart comes back under the same names."""
    s3 = client("s3")
    there = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    for name in BUCKETS.values():
        if name not in there:
            s3.create_bucket(Bucket=name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
    key = client("kms").create_key(Description="jobs of the loopback AWS")["KeyMetadata"]["KeyId"]
    client("kms").create_alias(AliasName="alias/nightshift-jobs", TargetKeyId=key)
    client("ecr").create_repository(repositoryName="nightshift-jobs")
    _images(settings)


def _images(settings: Settings) -> None:
    """The one image, as commands; images that were added stay."""
    programs = Path(__file__).parents[2] / "containers" / "bin"
    known = json.loads(settings.images.read_text()) if settings.images.exists() else {}
    known[IMAGE] = {
        "train": [str(programs / "train")],
        "serve": [str(programs / "serve")],
        "environment": {"PYTHONUNBUFFERED": "1", "NIGHTSHIFT_PYTHON": sys.executable},
    }
    write_json(settings.images, known)


def card(settings: Settings) -> dict[str, Any]:
    """``aws.json``: everything that a client, or Airflow, needs to know."""
    jobs_uri = f"s3://{BUCKETS['jobs']}"
    connection = {
        "conn_type": "aws",
        "login": ACCESS_KEY,
        "password": SECRET_KEY,
        "extra": {
            "region_name": REGION,
            "endpoint_url": settings.endpoint,
            "service_config": {"s3": {"endpoint_url": settings.s3_endpoint}},
            "sagemaker": {"role_arn": settings.role_arn, "jobs_uri": jobs_uri, "image": IMAGE},
        },
    }
    return {
        "endpoint": settings.endpoint,
        "s3_endpoint": settings.s3_endpoint,
        "region": REGION,
        "account": ACCOUNT,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "role_arn": settings.role_arn,
        "image": IMAGE,
        "buckets": BUCKETS,
        "jobs_uri": jobs_uri,
        "connection": connection,
        "options": {
            "landing_uri": f"s3://{BUCKETS['landing']}",
            "lake_uri": f"s3://{BUCKETS['lake']}",
            "landing_conn_id": CONNECTION_ID,
            "lake_conn_id": CONNECTION_ID,
            "sagemaker_conn_id": CONNECTION_ID,
        },
        "environment": {f"AIRFLOW_CONN_{CONNECTION_ID.upper()}": json.dumps(connection)},
        "home": str(settings.home),
        "pid": os.getpid(),
    }
