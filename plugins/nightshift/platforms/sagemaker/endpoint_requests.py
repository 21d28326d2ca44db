"""What is sent to AWS for an endpoint: pure functions from our words to the parameters of each call."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from nightshift.platforms.endpoints import BARRED, CHAMPION, OWNER, PREVIOUS, SINCE, STABLE, UNDO
from nightshift.platforms.sagemaker.tags import PREFIX, aws_tags, read_tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.platforms.endpoints import EndpointSpec, Variant
    from nightshift.platforms.sagemaker.config import SageMakerConfig
    from nightshift.platforms.sagemaker.prices import InstanceType

__all__ = [
    "DIMENSION",
    "NOTES",
    "add_tags",
    "alarms",
    "capture_uri",
    "create_endpoint",
    "delete_tags",
    "digest",
    "endpoint_config",
    "monitoring_schedule",
    "notes_of",
    "scalable_target",
    "scaling_policy",
    "tags",
    "update_endpoint",
    "version_of",
    "weights",
]

Request = dict[str, Any]

NAMESPACE, DIMENSION = "sagemaker", "sagemaker:variant:DesiredInstanceCount"
NOTES = (STABLE, PREVIOUS, OWNER, SINCE, UNDO, BARRED)
_JSON_LINES = "application/jsonlines"
_STARTUP_S = 600
_BAKE_S = 300
"""Seconds that alarms are watched after the requests have moved, before the old machines go."""
_CANARY_PERCENT = 25
_MONITOR_MACHINE = {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 20}


def digest(request: Mapping[str, Any]) -> str:
    """Twelve characters that name what a request says; its tags and its own name aside."""
    said = {
        key: value for key, value in request.items() if key not in ("Tags", "EndpointConfigName", "ModelName")
    }
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def capture_uri(config: SageMakerConfig, name: str) -> str:
    """Where the requests and answers of an endpoint are kept."""
    return f"{config.jobs_uri}/.capture/{name}"


def version_of(model: str) -> str:
    """The model version that a model's name tells; empty for a name that is not ours."""
    found = re.search(r"-v(\w+)-[0-9a-f]{12}$", model)
    return found.group(1) if found else ""


def endpoint_config(
    spec: EndpointSpec, config: SageMakerConfig, variants: Sequence[Variant], instance_type: InstanceType
) -> Request:
    """CreateEndpointConfig; its name ends with the digest of the rest."""
    request: Request = {
        "ProductionVariants": [_variant(spec, each, instance_type) for each in variants],
        **_volume_key(config, instance_type),
        **({"DataCaptureConfig": _capture(spec, config)} if spec.config.capture else {}),
    }
    return {"EndpointConfigName": f"{spec.name}-{digest(request)}", **request, "Tags": tags(spec, config)}


def _variant(spec: EndpointSpec, variant: Variant, instance_type: InstanceType) -> Request:
    return {
        "VariantName": variant.name,
        "ModelName": variant.model,
        "InitialInstanceCount": spec.config.instances.min,
        "InstanceType": instance_type.name,
        "InitialVariantWeight": variant.weight,
        "ContainerStartupHealthCheckTimeoutInSeconds": _STARTUP_S,
    }


def _volume_key(config: SageMakerConfig, instance_type: InstanceType) -> Request:
    """Instances with a disk of their own encrypt it themselves, and a key for it is refused."""
    return {"KmsKeyId": config.kms_key_id} if config.kms_key_id and not instance_type.local_disk else {}


def _capture(spec: EndpointSpec, config: SageMakerConfig) -> Request:
    assert spec.config.capture is not None
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": spec.config.capture.percentage,
        "DestinationS3Uri": capture_uri(config, spec.name),
        **({"KmsKeyId": config.kms_key_id} if config.kms_key_id else {}),
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": [_JSON_LINES]},
    }


def create_endpoint(
    spec: EndpointSpec, config: SageMakerConfig, release: str, notes: Mapping[str, str]
) -> Request:
    """CreateEndpoint."""
    return {
        "EndpointName": spec.name,
        "EndpointConfigName": release,
        "Tags": [*tags(spec, config), *_noted(notes)],
    }


def update_endpoint(name: str, release: str, spec: EndpointSpec | None, config: SageMakerConfig) -> Request:
    """UpdateEndpoint: machines that autoscaling has added stay, weights are those of the release.

    Without ``spec`` all requests move at once: the way back does not wait for alarms.
    """
    # Assumed, not seen on a real account: properties are kept by the variant's name, and a variant that
    # the endpoint did not have takes those of its configuration.
    request: Request = {
        "EndpointName": name,
        "EndpointConfigName": release,
        "RetainAllVariantProperties": True,
        "ExcludeRetainedVariantProperties": [
            {"VariantPropertyType": "DesiredWeight"},
            {"VariantPropertyType": "DataCaptureConfig"},
        ],
    }
    return {**request, "DeploymentConfig": _blue_green(spec, config)} if spec else request


def _blue_green(spec: EndpointSpec, config: SageMakerConfig) -> Request:
    """New machines beside the old ones; an alarm in the time of baking sends the requests back."""
    watched = [each["AlarmName"] for each in alarms(spec, config)]
    by_parts = bool(watched) and spec.config.instances.min > 1  # of one machine there is no part
    routing: Request = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    if by_parts:
        size = {"Type": "CAPACITY_PERCENT", "Value": _CANARY_PERCENT}
        routing = {"Type": "CANARY", "WaitIntervalInSeconds": _BAKE_S, "CanarySize": size}
    found: Request = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": _BAKE_S if watched else 0,
            "MaximumExecutionTimeoutInSeconds": round(spec.config.timeout_minutes * 60),
        }
    }
    if watched:
        found["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in watched]}
    return found


def weights(name: str, shares: Mapping[str, float]) -> Request:
    """UpdateEndpointWeightsAndCapacities."""
    return {
        "EndpointName": name,
        "DesiredWeightsAndCapacities": [
            {"VariantName": variant, "DesiredWeight": share} for variant, share in sorted(shares.items())
        ],
    }


def alarms(spec: EndpointSpec, config: SageMakerConfig) -> list[Request]:
    """PutMetricAlarm, one each for what the pipeline file names."""
    wanted, found = spec.config.alarms, []
    if wanted and wanted.errors_per_minute is not None:
        errors = {
            "MetricName": "Invocation5XXErrors",
            "Statistic": "Sum",
            "Threshold": wanted.errors_per_minute,
        }
        found.append(_alarm(spec, config, "errors", errors))
    if wanted and wanted.latency_ms is not None:
        slow = {
            "MetricName": "ModelLatency",
            "ExtendedStatistic": "p95",
            "Threshold": wanted.latency_ms * 1000,
        }
        found.append(_alarm(spec, config, "latency", slow))
    return found


def _alarm(spec: EndpointSpec, config: SageMakerConfig, what: str, metric: Request) -> Request:
    dimensions = {"EndpointName": spec.name, "VariantName": CHAMPION}
    return {
        "AlarmName": f"{spec.name}-{what}",
        "AlarmDescription": f"{what} of the endpoint {spec.name}; a deployment goes back on it",
        "Namespace": "AWS/SageMaker",
        **metric,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
        "Tags": tags(spec, config),
    }


def scalable_target(name: str) -> Request:
    """What autoscaling knows the champion's machines by. A challenger keeps those it began with."""
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": f"endpoint/{name}/variant/{CHAMPION}",
        "ScalableDimension": DIMENSION,
    }


def scaling_policy(spec: EndpointSpec) -> Request:
    """PutScalingPolicy: so many invocations a minute for each machine."""
    wanted = spec.config.autoscaling
    assert wanted is not None
    return {
        **scalable_target(spec.name),
        "PolicyName": f"{spec.name}-invocations",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": wanted.invocations_per_minute,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
            "ScaleOutCooldown": wanted.scale_out_cooldown_s,
            "ScaleInCooldown": wanted.scale_in_cooldown_s,
        },
    }


def monitoring_schedule(spec: EndpointSpec, config: SageMakerConfig) -> Request:
    """CreateMonitoringSchedule: data quality of what was captured."""
    wanted = spec.config.monitoring
    assert wanted is not None
    name, local = spec.name, "/opt/ml/processing"
    network: Request = {
        "EnableNetworkIsolation": config.network_isolation,
        "EnableInterContainerTrafficEncryption": config.encrypt_traffic,
    }
    if config.subnets:
        groups = list(config.security_group_ids)
        network["VpcConfig"] = {"Subnets": list(config.subnets), "SecurityGroupIds": groups}
    output = {"S3Uri": f"{config.jobs_uri}/.monitoring/{name}", "LocalPath": f"{local}/output"}
    job: Request = {
        "MonitoringInputs": [{"EndpointInput": {"EndpointName": name, "LocalPath": f"{local}/input"}}],
        "MonitoringOutputConfig": {
            "MonitoringOutputs": [{"S3Output": {**output, "S3UploadMode": "EndOfJob"}}],
            **({"KmsKeyId": config.kms_key_id} if config.kms_key_id else {}),
        },
        "MonitoringResources": {"ClusterConfig": _monitor_machine(config)},
        "MonitoringAppSpecification": {"ImageUri": config.monitor_image},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3300},
        "Environment": {
            "dataset_format": json.dumps({"sagemakerCaptureJson": {"captureIndexNames": ["endpointInput"]}}),
            "dataset_source": f"{local}/input",
            "output_path": f"{local}/output",
            "publish_cloudwatch_metrics": "Enabled",
        },
        "NetworkConfig": network,
        "RoleArn": config.role_arn,
    }
    return {
        "MonitoringScheduleName": name,
        "MonitoringScheduleConfig": {
            "ScheduleConfig": {"ScheduleExpression": _expression(wanted.cron)},
            "MonitoringJobDefinition": job,
            "MonitoringType": "DataQuality",
        },
        "Tags": tags(spec, config),
    }


def _monitor_machine(config: SageMakerConfig) -> Request:
    key = {"VolumeKmsKeyId": config.kms_key_id} if config.kms_key_id else {}
    return {**_MONITOR_MACHINE, **key}


def _expression(cron: str) -> str:
    """SageMaker's own: ``0 */6 * * *`` is ``cron(0 0/6 ? * * *)``."""
    hour = cron.split()[1]
    return f"cron(0 {hour.replace('*/', '0/')} ? * * *)"


def tags(spec: EndpointSpec, config: SageMakerConfig) -> list[dict[str, str]]:
    """What says whose it is, and the deployment's own tags."""
    return aws_tags(spec.tags, config.tags)


def _noted(notes: Mapping[str, str]) -> list[dict[str, str]]:
    return aws_tags({key: value for key, value in notes.items() if value}, {})


def add_tags(arn: str, notes: Mapping[str, str]) -> Request:
    """AddTags, for the notes that say something."""
    return {"ResourceArn": arn, "Tags": _noted(notes)}


def delete_tags(arn: str, notes: Mapping[str, str]) -> Request:
    """DeleteTags, for the notes that say nothing any more."""
    gone = sorted(f"{PREFIX}{key}" for key, value in notes.items() if not value)
    return {"ResourceArn": arn, "TagKeys": gone}


def notes_of(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Our notes among an endpoint's tags."""
    return {key: value for key, value in read_tags(found).items() if key in NOTES}
