"""The channels of a job: checked when it is created, brought into its containers when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import refused, validation
from localcloud.aws.home import REGION
from localcloud.aws.storage import download, entries_of, listed, split_uri

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.containers import Container

__all__ = ["bring", "check_inputs", "input_config"]


def check_inputs(cloud: Cloud, channels: list[dict[str, Any]], role: str) -> None:
    """Turn down what AWS turns down at once, and what the loopback cannot do.

    :raises AwsError: with AWS's own words, or the loopback's for the latter.
    """
    for channel in channels:
        source = channel["DataSource"].get("S3DataSource")
        name = channel.get("ChannelName", "input")
        if source is None:
            raise refused(f"channel {name} that is not on S3")
        if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
            raise refused(f"channel {name} with S3DataType {source['S3DataType']}")
        if channel.get("InputMode") == "Pipe" or channel.get("RecordWrapperType", "None") != "None":
            raise refused(f"channel {name} with pipe mode or record wrapping")
        if channel.get("CompressionType", "None") != "None":
            raise refused(f"channel {name} with CompressionType {channel['CompressionType']}")
        _check_there(cloud, source["S3Uri"], role)


def _check_there(cloud: Cloud, uri: str, role: str) -> None:
    from botocore.exceptions import ClientError

    try:
        there = next(iter(listed(cloud.s3(), uri)), None)
    except ClientError:
        there = None
    if there is None:
        raise validation(
            f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
            f"bucket exists in the selected region ({REGION}), that objects exist under that S3 prefix, and "
            f'that the role "{role}" has "s3:ListBucket" permissions on bucket "{split_uri(uri)[0]}".'
        )


def bring(cloud: Cloud, channels: list[dict[str, Any]], hosts: list[Container]) -> None:
    """Fill ``/opt/ml/input/data`` of every host. File and FastFile mode look the same from inside.

    :raises JobError: when something cannot be read.
    """
    for channel in channels:
        source = channel["DataSource"]["S3DataSource"]
        entries = entries_of(cloud.s3(), source)
        sharded = source.get("S3DataDistributionType") == "ShardedByS3Key"
        for index, host in enumerate(hosts):
            part = entries[index :: len(hosts)] if sharded else entries
            folder = host.base / "input" / "data" / channel["ChannelName"]
            folder.mkdir(parents=True, exist_ok=True)
            download(cloud.s3(), part, folder)


def input_config(channels: list[dict[str, Any]], default_mode: str) -> dict[str, Any]:
    """``inputdataconfig.json``."""
    return {
        channel["ChannelName"]: {
            **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
            "TrainingInputMode": channel.get("InputMode", default_mode),
            "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                "S3DataDistributionType", "FullyReplicated"
            ),
            "RecordWrapperType": "None",
        }
        for channel in channels
    }
