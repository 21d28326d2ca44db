"""The folder a loopback AWS lives in, and the fixed facts of its one account."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ACCESS_KEY",
    "ACCOUNT",
    "BUCKETS",
    "IMAGE",
    "REGION",
    "ROLE",
    "SECRET_KEY",
    "Settings",
    "write_json",
]

REGION = "us-east-1"
ACCOUNT = "123456789012"
ACCESS_KEY = "nightshift-loopback"
SECRET_KEY = "known-to-everybody-good-on-loopback-only"
ROLE = "nightshift-jobs"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/nightshift-jobs:latest"
BUCKETS = {"landing": "nightshift-landing", "lake": "nightshift-lake", "jobs": "nightshift-jobs"}


@dataclass(frozen=True, slots=True)
class Settings:
    """How one loopback AWS runs.

    :param parallel: jobs that run at the same time; the others wait in ``Starting``.
    :param grace_s: seconds between the polite signal and the one that ends a job (120 on AWS).
    :param interruption_s: how long an interrupted spot job waits for its next instance.
    """

    home: Path
    port: int
    s3_port: int
    parallel: int = 4
    grace_s: float = 5.0
    interruption_s: float = 0.3

    @property
    def endpoint(self) -> str:
        """Everything but S3."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def s3_endpoint(self) -> str:
        """S3."""
        return f"http://127.0.0.1:{self.s3_port}"

    @property
    def role_arn(self) -> str:
        """The role that jobs are given."""
        return f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"

    @property
    def images(self) -> Path:
        """``{image: {"train": argv, "serve": argv, "environment": {...}}}``; read anew for every job."""
        return self.home / "images.json"

    @property
    def card(self) -> Path:
        """What clients need to know, written when everything answers."""
        return self.home / "aws.json"


def write_json(path: Path, document: Any) -> None:
    """Write a document so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)
