"""What a deployment says about its SageMaker: roles, places, images, keys, networks."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nightshift.errors import ConfigError

__all__ = ["REQUIRED", "SageMakerConfig"]

REQUIRED = {
    "role_arn": "the role that jobs run as, arn:aws:iam::…:role/…",
    "jobs_uri": "where jobs keep their files, s3://bucket/prefix",
    "image": "the container image that jobs run in",
}
"""What nobody can guess, and what it is."""

_ROLE = r"^arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+$"
_PLACE = r"^s3://[^/]+(/.*)?$"
_MOST_TAGS = 50 - 12  # AWS takes 50, ours are at most 12


def _words(value: Any) -> Any:
    """An option of airflow.cfg is text: ``a, b`` is two words."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _pairs(value: Any) -> Any:
    """``key=value, …`` or a JSON object."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return json.loads(value)
    pairs = [word.partition("=") for word in _words(value)]
    return {key.strip(): text.strip() for key, _, text in pairs}


def _place(value: Any) -> Any:
    return value.rstrip("/") if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Pairs = Annotated[Mapping[str, str], BeforeValidator(_pairs)]


class SageMakerConfig(BaseModel):
    """One deployment's SageMaker.

    :param role_arn: the role that jobs run as; ``jobs_uri``: where they keep their files, below a bucket.
    :param image: what jobs run in; ``serve_image``: what serves models, the same when it is empty.
    :param script_mode: ``image`` is a framework's image with the training toolkit, not one of our own.
    :param kms_key_id: encrypts outputs and volumes; ``encrypt_traffic``: what goes between instances.
    :param network_isolation: containers reach no network at all; their data still comes and goes.
    :param keep_alive_s: seconds that instances wait for the next training job, and cost (a warm pool).
    :param retry_attempts: times that SageMaker starts a job anew after an internal error of its own.
    :param debugger_rules: Debugger's rules to run beside a training job, in ``debugger_image``.
    :param profiler: take system metrics twice a second.
    :param monitor_image: Model Monitor's image, for endpoints that are monitored.
    :param prices: path of a price table that takes the place of ours.
    :param poll_s: seconds between two looks at a job.
    :param late_s: seconds after a job's time is up in which SageMaker may say so itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role_arn: str = Field(pattern=_ROLE)
    jobs_uri: Annotated[str, BeforeValidator(_place)] = Field(pattern=_PLACE)
    image: str = Field(min_length=1, max_length=255)
    serve_image: str = Field("", max_length=255)
    monitor_image: str | None = None
    script_mode: bool = False
    kms_key_id: str = ""
    subnets: Words = Field((), max_length=16)
    security_group_ids: Words = Field((), max_length=5)
    network_isolation: bool = False
    encrypt_traffic: bool = False
    volume_gib: int = Field(30, ge=1, le=16_384)
    poll_s: float = Field(10.0, gt=0)
    late_s: float = Field(300.0, ge=0)
    keep_alive_s: int = Field(0, ge=0, le=21_600)
    retry_attempts: int = Field(2, ge=0, le=30)
    debugger_image: str = ""
    debugger_rules: Words = Field((), max_length=20)
    profiler: bool = False
    tags: Pairs = Field({}, max_length=_MOST_TAGS)
    prices: str = ""
    max_concurrent_transforms: int = Field(1, ge=1, le=16)  # times 6 MB; AWS takes 100 MB at once

    @model_validator(mode="after")
    def _consistent(self) -> SageMakerConfig:
        if bool(self.subnets) != bool(self.security_group_ids):
            raise ValueError("subnets and security_group_ids belong together: set both, or neither")
        if self.debugger_rules and not self.debugger_image:
            raise ValueError("debugger_rules need a debugger_image (the region's own, see the AWS docs)")
        return self

    @property
    def serving_image(self) -> str:
        """What models are served in.

        :raises ConfigError: when it would be a framework's image for training.
        """
        if self.script_mode and not self.serve_image:
            raise ConfigError(
                "in script mode jobs run in a framework's image, which cannot serve our models",
                fix="set [nightshift] sagemaker_serve_image to an image with include/containers/bin/serve",
            )
        return self.serve_image or self.image

    @classmethod
    def read(cls, extra: Any, options: Mapping[str, str], conn_id: str, region: str) -> SageMakerConfig:
        """From the connection's extra, with the options of airflow.cfg over it; empty means not set.

        :param extra: an object, or one as text: Airflow's own forms make text of it.
        :raises ConfigError: naming every setting that is missing, unknown or wrong, all at once.
        """
        told = {**_object(extra, conn_id), **options}
        given = {name: value for name, value in told.items() if value not in ("", None)}
        problems = [] if region else ["region_name is missing (the AWS region, in the extra itself)"]
        try:
            config = cls(**given)
        except ValidationError as error:
            problems += [_problem(each) for each in error.errors()]
            raise _told(problems, conn_id) from None
        if problems:
            raise _told(problems, conn_id)
        return config


def _object(extra: Any, conn_id: str) -> Mapping[str, Any]:
    found = extra or {}
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            found = None
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"the key 'sagemaker' in the extra of connection {conn_id!r} is no JSON object",
            fix='write it as {"sagemaker": {"role_arn": "arn:aws:iam::…", "jobs_uri": "s3://…", …}}',
        )
    return found


def _told(found: list[str], conn_id: str) -> ConfigError:
    return ConfigError(
        f"SageMaker is not set up: {'; '.join(found)}",
        fix=f"put it into the extra of connection {conn_id!r} as "
        '{"sagemaker": {"<name>": …}}, or set [nightshift] sagemaker_<name>',
    )


def _problem(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{name} is missing ({REQUIRED[name]})"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, SageMakerConfig.model_fields, n=1)
        return f"there is no setting {name}" + (f", did you mean {near[0]}?" if near else "")
    reason = error["msg"].removeprefix("Value error, ")
    return f"{name}: {reason}" if name else reason
