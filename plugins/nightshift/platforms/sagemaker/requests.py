"""What is asked of SageMaker, rendered by pure functions: no client, no clock, no file.

Golden files hold them (``tests/contract/golden/sagemaker``), and botocore's own model of the service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nightshift.platforms.sagemaker import metrics
from nightshift.platforms.sagemaker.code import ENTRY, SOURCES
from nightshift.platforms.sagemaker.store import checkpoints_of
from nightshift.platforms.sagemaker.tags import JOB, KIND, aws_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.platforms.sagemaker.channels import Channel
    from nightshift.platforms.sagemaker.config import SageMakerConfig
    from nightshift.platforms.sagemaker.machines import Fleet

__all__ = [
    "Order",
    "Request",
    "definition_of_trials",
    "model_request",
    "training_request",
    "transform_request",
]

Request = dict[str, Any]

_PROFILE_EVERY_MS = 500
_PAYLOAD_MB = 6
_INVOCATION_S = 600
_INVOCATION_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to be asked of SageMaker.

    :param name: what SageMaker is to call it; ``job`` is the job that it belongs to, a stage of it or all.
    :param kind: of the training job: ``train``, ``evaluate``, ``features``, …
    :param code: where the package ``jobs`` is, below ``jobs_uri``.
    """

    name: str
    job: str
    kind: str
    fleet: Fleet
    code: str = ""
    channels: tuple[Channel, ...] = ()
    max_runtime_s: int = 3600
    max_wait_s: int = 600
    tags: Mapping[str, str] = field(default_factory=dict)

    def aws_tags(self, config: SageMakerConfig) -> list[dict[str, str]]:
        """With what leads a stage or a trial back to its job."""
        return aws_tags({**self.tags, JOB: self.job, KIND: self.kind}, config.tags)


def training_request(config: SageMakerConfig, region: str, order: Order) -> Request:
    """CreateTrainingJob."""
    request: Request = {
        "TrainingJobName": order.name,
        **_container(config, region, order, metrics.definitions(order.kind)),
        "ResourceConfig": _resources(config, order.fleet, keep_alive=True),
        "Environment": {"NIGHTSHIFT_KIND": order.kind, "NIGHTSHIFT_JOB": order.job},
        "ProfilerConfig": _profiler(config, order),
        "Tags": order.aws_tags(config),
    }
    if config.debugger_rules:
        debug = f"{config.jobs_uri}/.debugger/{order.name}"
        request["DebugHookConfig"] = {"S3OutputPath": debug}
        request["DebugRuleConfigurations"] = [
            {
                "RuleConfigurationName": rule,
                "RuleEvaluatorImage": config.debugger_image,
                "RuleParameters": {"rule_to_invoke": rule},
            }
            for rule in config.debugger_rules
        ]
    return request


def definition_of_trials(
    config: SageMakerConfig, region: str, order: Order, tuning: Mapping[str, Any]
) -> Request:
    """``TrainingJobDefinition`` of a tuning job; the static hyperparameters are what script mode needs."""
    common = _container(config, region, order, metrics.definitions(order.kind, tuning))
    static = common.pop("HyperParameters", None)
    request = {**common, "ResourceConfig": _resources(config, order.fleet, keep_alive=False)}
    return request if static is None else {**request, "StaticHyperParameters": static}


def model_request(config: SageMakerConfig, name: str, model_data: str, tags: list[dict[str, str]]) -> Request:
    """CreateModel of a package with our ``serve`` in it (:mod:`nightshift.platforms.sagemaker.scoring`)."""
    container = {"Image": config.serving_image, "ModelDataUrl": model_data}
    request: Request = {
        "ModelName": name,
        "PrimaryContainer": {**container, "Environment": {"NIGHTSHIFT_JOB": name}},
        "ExecutionRoleArn": config.role_arn,
        "EnableNetworkIsolation": config.network_isolation,
        "Tags": tags,
    }
    return {**request, **_vpc(config)}


def transform_request(config: SageMakerConfig, order: Order, features: str, output: str) -> Request:
    """CreateTransformJob: one line in, one line out.

    :param features: the folder of JSON lines to score; ``output``: where the answers go.
    """
    out = {"S3OutputPath": output, "Accept": "application/jsonlines", "AssembleWith": "Line"}
    resources: Request = {"InstanceType": order.fleet.type.name, "InstanceCount": order.fleet.count}
    if config.kms_key_id:
        out["KmsKeyId"] = config.kms_key_id
        if not order.fleet.type.local_disk:
            resources["VolumeKmsKeyId"] = config.kms_key_id
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": features.rstrip("/") + "/"}}
    return {
        "TransformJobName": order.name,
        "ModelName": order.name,
        "MaxConcurrentTransforms": config.max_concurrent_transforms,
        "MaxPayloadInMB": _PAYLOAD_MB,
        "BatchStrategy": "MultiRecord",
        "ModelClientConfig": {
            "InvocationsTimeoutInSeconds": _INVOCATION_S,
            "InvocationsMaxRetries": _INVOCATION_RETRIES,
        },
        "TransformInput": {
            "DataSource": source,
            "ContentType": "application/jsonlines",
            "SplitType": "Line",
            "CompressionType": "None",
        },
        "TransformOutput": out,
        "TransformResources": resources,
        "Tags": order.aws_tags(config),
    }


def _container(
    config: SageMakerConfig, region: str, order: Order, metric_definitions: list[dict[str, str]]
) -> Request:
    """What a training job and the definition of a tuning job's trials have in common."""
    algorithm: Request = {"TrainingImage": config.image, "TrainingInputMode": "File"}
    if metric_definitions:
        algorithm["MetricDefinitions"] = metric_definitions
    output: Request = {"S3OutputPath": config.jobs_uri, "CompressionType": "NONE"}
    if config.kms_key_id:
        output["KmsKeyId"] = config.kms_key_id
    request: Request = {
        "AlgorithmSpecification": algorithm,
        "RoleArn": config.role_arn,
        "InputDataConfig": [dict(channel) for channel in order.channels],
        "OutputDataConfig": output,
        "StoppingCondition": _stopping(order),
        "CheckpointConfig": {"S3Uri": f"{config.jobs_uri}/{checkpoints_of(order.name)}/"},
        "EnableManagedSpotTraining": order.fleet.spot,
        "EnableNetworkIsolation": config.network_isolation,
        "EnableInterContainerTrafficEncryption": config.encrypt_traffic,
        **_vpc(config),
    }
    if config.script_mode:
        request["HyperParameters"] = _script_mode(config, region, order)
    if config.retry_attempts:
        request["RetryStrategy"] = {"MaximumRetryAttempts": config.retry_attempts}
    return request


def _script_mode(config: SageMakerConfig, region: str, order: Order) -> dict[str, str]:
    """What the training toolkit of a framework's image goes by. Isolated, it takes the code's channel."""
    sources = f"{config.jobs_uri}/{order.code}/{SOURCES}"
    if config.network_isolation:
        sources = f"/opt/ml/input/data/code/{SOURCES}"
    return {
        "sagemaker_program": ENTRY,
        "sagemaker_submit_directory": sources,
        "sagemaker_region": region,
        "sagemaker_container_log_level": "30",
    }


def _stopping(order: Order) -> Request:
    stopping = {"MaxRuntimeInSeconds": order.max_runtime_s}
    if order.fleet.spot:
        stopping["MaxWaitTimeInSeconds"] = order.max_runtime_s + order.max_wait_s
    return stopping


def _resources(config: SageMakerConfig, fleet: Fleet, *, keep_alive: bool) -> Request:
    resources: Request = {
        "InstanceType": fleet.type.name,
        "InstanceCount": fleet.count,
        "VolumeSizeInGB": config.volume_gib,
    }
    if config.kms_key_id and not fleet.type.local_disk:
        resources["VolumeKmsKeyId"] = config.kms_key_id
    if keep_alive and config.keep_alive_s and not fleet.spot:  # spot instances cannot be kept
        resources["KeepAlivePeriodInSeconds"] = config.keep_alive_s
    return resources


def _profiler(config: SageMakerConfig, order: Order) -> Request:
    """Said either way: left out, SageMaker takes it that metrics are wanted."""
    if not config.profiler:
        return {"DisableProfiler": True}
    return {
        "S3OutputPath": f"{config.jobs_uri}/.profiler/{order.name}",
        "ProfilingIntervalInMilliseconds": _PROFILE_EVERY_MS,
        "DisableProfiler": False,
    }


def _vpc(config: SageMakerConfig) -> Request:
    if not config.subnets:
        return {}
    groups, subnets = list(config.security_group_ids), list(config.subnets)
    return {"VpcConfig": {"SecurityGroupIds": groups, "Subnets": subnets}}
