"""The hosts of a training job: their base folders, checkpoints, and what they leave in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from localcloud.aws.containers import Container
from localcloud.aws.errors import JobError
from localcloud.aws.inputs import bring, input_config
from localcloud.aws.storage import Sync, need_bucket, pack, upload_tree

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.records import Record

__all__ = ["checkpoints", "discard", "lay_out", "upload"]

_CONFIGS = {"debughookconfig": "DebugHookConfig", "profilerconfig": "ProfilerConfig"}


def lay_out(cloud: Cloud, job: Record) -> list[Container]:
    """Fresh base folders with configuration and channels: an instance keeps nothing of the one before.

    :raises JobError: when a channel cannot be read.
    """
    request, resources = job.request, job.request["ResourceConfig"]
    names = [f"algo-{n}" for n in range(1, resources["InstanceCount"] + 1)]
    channels = request.get("InputDataConfig", [])
    inputs = input_config(channels, request["AlgorithmSpecification"]["TrainingInputMode"])
    life = cloud.folder(f"{job.name}-{uuid4().hex[:6]}")
    hosts = []
    for name in names:
        host = Container(life / name, cloud.settings)
        host.config("hyperparameters", request.get("HyperParameters", {}))
        host.config("inputdataconfig", inputs)
        host.config("resourceconfig", _resources(name, names, resources["InstanceType"]))
        for config, member in _CONFIGS.items():
            if member in request:
                host.config(config, request[member])
        hosts.append(host)
    try:
        bring(cloud, channels, hosts)
    except JobError:
        discard(hosts)
        raise
    return hosts


def _resources(name: str, names: list[str], instance_type: str) -> dict[str, Any]:
    """``resourceconfig.json``."""
    group = {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": names}
    return {
        "current_host": name,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": names,
        "instance_groups": [group],
        "network_interface_name": "lo",
    }


def discard(hosts: list[Container]) -> None:
    """Remove their folders."""
    for host in hosts:
        host.discard()
    if hosts:
        hosts[0].base.parent.rmdir()


def checkpoints(cloud: Cloud, job: Record, hosts: list[Container]) -> list[Sync]:
    """The checkpoints of each host, brought from S3."""
    config = job.request.get("CheckpointConfig")
    if not config:
        return []
    syncs = []
    for host in hosts:
        folder = host.path(config.get("LocalPath", "/opt/ml/checkpoints"))
        folder.mkdir(parents=True, exist_ok=True)
        syncs.append(Sync(cloud.s3(), folder, config["S3Uri"]))
        syncs[-1].start()
    return syncs


def upload(cloud: Cloud, job: Record, hosts: list[Container]) -> None:
    """The model of every host, and what is in ``output/data``; several hosts share one destination.

    :raises JobError: when the destination cannot be written.
    """
    output = job.shown["OutputDataConfig"]
    need_bucket(cloud.s3(), output["S3OutputPath"])
    root = f"{output['S3OutputPath'].rstrip('/')}/{job.name}/output"
    send = _send_tree if output["CompressionType"] == "NONE" else _send_packed
    try:
        send(cloud.s3(), root, hosts)
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise JobError(f"ClientError: Artifact upload failed: {error}") from error


def _send_tree(s3: Any, root: str, hosts: list[Container]) -> None:
    for host in hosts:
        upload_tree(s3, host.base / "model", f"{root}/model")
        upload_tree(s3, host.base / "output" / "data", f"{root}/data")


def _send_packed(s3: Any, root: str, hosts: list[Container]) -> None:
    pack(s3, [host.base / "model" for host in hosts], f"{root}/model.tar.gz")
    data = [host.base / "output" / "data" for host in hosts]
    if any(any(folder.iterdir()) for folder in data):
        pack(s3, data, f"{root}/output.tar.gz")
