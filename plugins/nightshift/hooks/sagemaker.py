"""Sign-in to SageMaker: through the Amazon provider's hook only, the same in worker and triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.hooks.storage import options_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.config.settings import Settings
    from nightshift.platforms.sagemaker.calls import Client
    from nightshift.platforms.sagemaker.platform import SageMakerPlatform

__all__ = ["aws_clients", "sagemaker_platform"]

_EXTRA = "sagemaker"
_RETRIES = {"mode": "standard", "max_attempts": 5}
_CONNECT_S, _READ_S = 10, 60


def sagemaker_platform(settings: Settings) -> SageMakerPlatform:
    """SageMaker as the connection and ``[nightshift]`` describe it; nothing is asked of AWS.

    :raises ConfigError: naming every setting that is missing or wrong.
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    from nightshift.platforms.sagemaker.config import SageMakerConfig
    from nightshift.platforms.sagemaker.platform import SageMakerPlatform

    conn_id = settings.sagemaker_conn_id
    hook: Any = AwsBaseHook(aws_conn_id=conn_id, client_type="sagemaker")
    region = hook.region_name or _region_of_environment()
    extra = hook.conn_config.extra_config.get(_EXTRA)
    config = SageMakerConfig.read(extra, settings.sagemaker, conn_id, region)

    def storage() -> Mapping[str, str]:
        options = options_for(config.jobs_uri, conn_id)  # guesses a region where the connection names none
        return {**options, "aws_region": region} if options else options

    return SageMakerPlatform(
        config,
        region,
        aws_clients(conn_id, region),
        storage,
        jobs_dir=settings.jobs_dir,
        cache=settings.staging / "outputs",
    )


def aws_clients(conn_id: str, region: str | None = None) -> Client:
    """boto3 clients by service, made when they are asked for and kept until what signs in has expired.

    What the connection says of retries and timeouts wins over what we find right.
    """
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from botocore.config import Config

    from nightshift.platforms.sagemaker.failures import EXPIRED

    made: dict[str, Any] = {}
    ours = Config(retries=_RETRIES, connect_timeout=_CONNECT_S, read_timeout=_READ_S)

    def forget_expired(parsed: Mapping[str, Any], **_: Any) -> None:
        if parsed.get("Error", {}).get("Code") in EXPIRED:
            made.clear()

    def client(service: str) -> Any:
        found = made.get(service)
        if found is None:
            hook: Any = AwsBaseHook(aws_conn_id=conn_id, client_type=service, region_name=region)
            found = made[service] = hook.get_client_type(config=ours.merge(hook.config))
            found.meta.events.register("after-call", forget_expired)
        return found

    return client


def _region_of_environment() -> str:
    """Where the connection names no region: what boto3 would take."""
    import boto3

    return boto3.session.Session().region_name or ""
