"""SageMaker endpoints: get or create by name, look, change, go back, clean up. Nothing here waits."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from nightshift.errors import ConfigError, DeploymentFailed, PlatformUnavailable
from nightshift.platforms.base import JobInput, Machine
from nightshift.platforms.endpoints import (
    Endpoints,
    EndpointState,
    EndpointStatus,
    Variant,
    VariantStatus,
)
from nightshift.platforms.sagemaker import endpoint_requests as requests
from nightshift.platforms.sagemaker.code import upload_code
from nightshift.platforms.sagemaker.failures import (
    code_of,
    is_absent,
    is_denied,
    is_there_already,
    vendor_errors,
)
from nightshift.platforms.sagemaker.machines import choose
from nightshift.platforms.sagemaker.requests import model_request
from nightshift.platforms.sagemaker.scoring import put_package
from nightshift.platforms.sagemaker.tags import read_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nightshift.platforms.endpoints import EndpointSpec, Served
    from nightshift.platforms.sagemaker.site import Site

__all__ = ["SageMakerEndpoints"]

_CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
_STATES = {
    **dict.fromkeys(_CHANGING, EndpointState.CHANGING),
    "InService": EndpointState.SERVING,
    "OutOfService": EndpointState.FAILED,
    "Failed": EndpointState.FAILED,
    "UpdateRollbackFailed": EndpointState.FAILED,
}
_JSON_LINES = "application/jsonlines"
_OURS = re.compile(r"-[0-9a-f]{12}$")
"""How the name of an endpoint of ours ends."""

log = logging.getLogger(__name__)


class SageMakerEndpoints(Endpoints):
    """The endpoints of one account and region, behind the same settings as the jobs."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._config = site.config
        self.poll_s = site.config.poll_s

    def _client(self, service: str = "sagemaker") -> Any:
        return self._site.client(service)

    def check_settings(self, spec: EndpointSpec) -> None:
        """Its machine, an image that serves, and Model Monitor's where it is wanted."""
        _ = self._config.serving_image
        choose(Machine(**spec.config.machine.model_dump()), self._site.prices)
        monitoring = spec.config.monitoring
        if monitoring is not None and monitoring.enabled and not self._config.monitor_image:
            raise ConfigError(
                "the pipeline file asks for monitoring, and no monitor_image is set",
                fix="set [nightshift] sagemaker_monitor_image to Model Monitor's image of your region",
            )

    # -- models and releases ------------------------------------------------------------------------

    def model(self, spec: EndpointSpec, served: Served) -> str:
        """CreateModel, named by the version and the digest of what it says."""
        code = upload_code(self._site.store, self._site.jobs_dir)
        model = JobInput("models/champion", served.folder.as_uri(), f"{spec.name}@{served.version}")
        package = put_package(self._site.store, self._site.jobs_dir, model, code, served.job)
        tags = requests.tags(spec, self._config)
        # By what the package is, and not where: workers may keep their models in different folders.
        name = f"{spec.name}-v{served.version}-" + requests.digest(
            model_request(self._config, spec.name, f"{model.identity} {code}", tags)
        )
        self._make("create_model", model_request(self._config, name, package, tags), f"making model {name}")
        return name

    def release(self, spec: EndpointSpec, variants: Sequence[Variant]) -> str:
        """CreateEndpointConfig, named by the digest of what it says."""
        machine = Machine(**spec.config.machine.model_dump())
        instance_type = choose(machine, self._site.prices).type
        request = requests.endpoint_config(spec, self._config, variants, instance_type)
        name: str = request["EndpointConfigName"]
        self._make("create_endpoint_config", request, f"making endpoint configuration {name}")
        return name

    def _make(self, call: str, request: Mapping[str, Any], doing: str) -> None:
        """Create; what is there already is the same, for its name says what it is."""
        with vendor_errors(doing):
            self._unless(is_there_already, getattr(self._client(), call), **request)

    @staticmethod
    def _unless(harmless: Callable[[Exception], bool], call: Callable[..., Any], **request: Any) -> Any:
        """The call's answer; None where it refuses for a reason that does no harm."""
        from botocore.exceptions import ClientError

        try:
            return call(**request)
        except ClientError as error:
            if not harmless(error):
                raise
            return None

    def variants_of(self, release: str) -> tuple[Variant, ...]:
        """DescribeEndpointConfig."""
        with vendor_errors(f"looking at endpoint configuration {release}"):
            found = self._unless(
                is_absent, self._client().describe_endpoint_config, EndpointConfigName=release
            )
        return tuple(
            Variant(
                each["VariantName"],
                each["ModelName"],
                float(each.get("InitialVariantWeight", 1.0)),
                requests.version_of(each["ModelName"]),
            )
            for each in (found or {}).get("ProductionVariants", ())
        )

    # -- the endpoint -------------------------------------------------------------------------------

    def status(self, name: str) -> EndpointStatus | None:
        """DescribeEndpoint, its configuration and its tags."""
        found = self._described(name)
        if found is None:
            return None
        if found["EndpointStatus"] not in _STATES:
            raise DeploymentFailed(f"endpoint {name} is {found['EndpointStatus']!r}, which nobody knows here")
        return EndpointStatus(
            name=name,
            state=_STATES[found["EndpointStatus"]],
            release=found.get("EndpointConfigName", ""),
            going_to=found.get("PendingDeploymentSummary", {}).get("EndpointConfigName", ""),
            variants=self._variants(found),
            notes=self._notes(found["EndpointArn"]),
            reason=found.get("FailureReason", ""),
            created_at=found["CreationTime"].timestamp(),
        )

    def find(self, tags: Mapping[str, str]) -> list[EndpointStatus]:
        """ListEndpoints; ListTags of those that are named as ours are."""
        with vendor_errors("looking for endpoints"):
            pages = self._client().get_paginator("list_endpoints").paginate()
            listed = [each for page in pages for each in page["Endpoints"]]
        ours = [each for each in listed if _OURS.search(each["EndpointName"]) and self._has(each, tags)]
        found = [self.status(each["EndpointName"]) for each in ours]
        return [each for each in found if each is not None]

    def _has(self, listed: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
        """Whether it has the tags; another's, whose tags may not be read, has not."""
        from botocore.exceptions import ClientError

        try:
            there = self._tags(listed["EndpointArn"])
        except ClientError as error:
            if is_absent(error):
                return False
            if not is_denied(error):
                with vendor_errors(f"reading the tags of {listed['EndpointArn']}"):
                    raise
            log.warning("The tags of %s may not be read: it is left out", listed["EndpointArn"])
            return False
        return all(there.get(key) == value for key, value in tags.items())

    def _tags(self, arn: str) -> dict[str, str]:
        pages = self._client().get_paginator("list_tags").paginate(ResourceArn=arn)
        return read_tags([tag for page in pages for tag in page["Tags"]])

    def _described(self, name: str) -> dict[str, Any] | None:
        with vendor_errors(f"looking at endpoint {name}"):
            found: dict[str, Any] | None = self._unless(
                is_absent, self._client().describe_endpoint, EndpointName=name
            )
        return found

    def _notes(self, arn: str) -> dict[str, str]:
        with vendor_errors(f"reading the tags of {arn}"):
            found = self._tags(arn)
        return {key: value for key, value in found.items() if key in requests.NOTES}

    def _variants(self, found: Mapping[str, Any]) -> tuple[VariantStatus, ...]:
        with vendor_errors(f"looking at endpoint configuration {found.get('EndpointConfigName')}"):
            made = self._unless(
                is_absent,
                self._client().describe_endpoint_config,
                EndpointConfigName=found.get("EndpointConfigName", ""),
            )
        told = {each["VariantName"]: each for each in (made or {}).get("ProductionVariants", ())}
        now = found.get("ProductionVariants", ())
        return tuple(self._variant(each, told.get(each["VariantName"], {})) for each in now)

    def _variant(self, now: Mapping[str, Any], told: Mapping[str, Any]) -> VariantStatus:
        model, instance_type = told.get("ModelName", ""), told.get("InstanceType", "")
        instances = int(now.get("CurrentInstanceCount", told.get("InitialInstanceCount", 0)))
        price = self._site.prices.price(instance_type) or 0.0  # assumed: hosting costs as training does
        return VariantStatus(
            name=now["VariantName"],
            model=model,
            version=requests.version_of(model),
            weight=float(now.get("CurrentWeight", told.get("InitialVariantWeight", 1.0))),
            instances=instances,
            instance_type=instance_type,
            usd_per_hour=price * instances,
        )

    def deploy(
        self,
        name: str,
        release: str,
        spec: EndpointSpec | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> bool:
        """CreateEndpoint or UpdateEndpoint, unless it serves the release or is on its way there."""
        status = self.status(name)
        if status is None:
            if spec is None:
                raise ConfigError(f"there is no endpoint {name}", fix="deploy the pipeline's champion")
            request = requests.create_endpoint(spec, self._config, release, notes or {})
            self._make("create_endpoint", request, f"making endpoint {name}")
            return True
        if status.state is EndpointState.CHANGING:
            return release in (status.going_to, "" if status.going_to else status.release)
        if status.release == release and status.state is EndpointState.SERVING:
            return True
        guard = spec if self._can_be_guarded(status, release) else None
        if guard is not None:
            self._watch(guard)
        return self._update(requests.update_endpoint(name, release, guard, self._config))

    def _can_be_guarded(self, status: EndpointStatus, release: str) -> bool:
        """Whether AWS takes a ``DeploymentConfig`` for this change.

        Assumed, not seen on a real account: it wants the same variants in the old configuration and the new.
        """
        names = {each.name for each in self.variants_of(release)}
        return names == {each.name for each in status.variants}

    def _update(self, request: Mapping[str, Any]) -> bool:
        """Whether the change was taken; machines of another type are taken out of autoscaling first."""
        name = request["EndpointName"]
        with vendor_errors(f"updating endpoint {name}"):
            if self._accepted(self._client().update_endpoint, request):
                return True
            self._deregister(name)
            return self._accepted(self._client().update_endpoint, request)

    @staticmethod
    def _accepted(call: Callable[..., Any], request: Mapping[str, Any]) -> bool:
        """False where the endpoint is being changed, or its machines are still registered for autoscaling."""
        from botocore.exceptions import ClientError

        try:
            call(**request)
        except ClientError as error:
            if not any(words in str(error) for words in ("in-progress", "deregistered", "is updating")):
                raise
            return False
        return True

    def shift(self, name: str, weights: Mapping[str, float]) -> None:
        """UpdateEndpointWeightsAndCapacities; one that is being changed is left to the next look."""
        with vendor_errors(f"sharing out the requests of endpoint {name}"):
            call = self._client().update_endpoint_weights_and_capacities
            self._accepted(call, requests.weights(name, weights))

    def ask(self, name: str, variant: str, lines: Sequence[str]) -> list[str]:
        """InvokeEndpoint with TargetVariant: whatever its weight, this variant answers."""
        try:
            with vendor_errors(f"asking {variant} of endpoint {name}"):
                return self._asked(name, variant, "\n".join(lines))
        except ConfigError as error:
            raise DeploymentFailed(error.what) from error

    def _asked(self, name: str, variant: str, body: str) -> list[str]:
        from botocore.exceptions import ClientError

        try:
            answer = self._client("sagemaker-runtime").invoke_endpoint(
                EndpointName=name,
                TargetVariant=variant,
                ContentType=_JSON_LINES,
                Accept=_JSON_LINES,
                Body=body.encode(),
            )
        except ClientError as error:
            if code_of(error) == "ModelError":
                raise DeploymentFailed(f"{variant} of endpoint {name} refuses the rows: {error}") from None
            raise
        text: str = answer["Body"].read().decode()
        return text.splitlines()

    # -- around it ----------------------------------------------------------------------------------

    def settle(self, spec: EndpointSpec) -> None:
        """Alarms, scalable target and policy, monitoring schedule."""
        self._watch(spec)
        if spec.config.autoscaling is None:
            self._deregister(spec.name)
        else:
            self._scale(spec)
        self._monitor(spec)

    def _watch(self, spec: EndpointSpec) -> None:
        client, wanted = self._client("cloudwatch"), requests.alarms(spec, self._config)
        with vendor_errors(f"setting the alarms of endpoint {spec.name}"):
            there = self._alarms(spec.name)
            for each in wanted:
                if not _says(there.pop(each["AlarmName"], {}), each):
                    client.put_metric_alarm(**each)
            if there:
                client.delete_alarms(AlarmNames=sorted(there))

    def _alarms(self, name: str) -> dict[str, dict[str, Any]]:
        found = self._client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{name}-")
        return {each["AlarmName"]: each for each in found.get("MetricAlarms", ())}

    def _scale(self, spec: EndpointSpec) -> None:
        client, count = self._client("application-autoscaling"), spec.config.instances
        with vendor_errors(f"registering endpoint {spec.name} for autoscaling"):
            target = requests.scalable_target(spec.name)
            client.register_scalable_target(**target, MinCapacity=count.min, MaxCapacity=count.max)
            client.put_scaling_policy(**requests.scaling_policy(spec))

    def _deregister(self, name: str) -> None:
        client = self._client("application-autoscaling")
        with vendor_errors(f"taking endpoint {name} out of autoscaling"):
            self._unless(_is_not_scaled, client.deregister_scalable_target, **requests.scalable_target(name))

    def _monitor(self, spec: EndpointSpec) -> None:
        wanted = spec.config.monitoring
        if wanted is None:
            self._stop_monitoring(spec.name)
            return
        client, name = self._client(), spec.name
        with vendor_errors(f"scheduling the monitoring of endpoint {name}"):
            there = self._unless(is_absent, client.describe_monitoring_schedule, MonitoringScheduleName=name)
            if wanted.enabled:
                self.check_settings(spec)
                self._schedule(requests.monitoring_schedule(spec, self._config), there)
            elif there is not None and there["MonitoringScheduleStatus"] != "Stopped":
                _not_pending(there)
                client.stop_monitoring_schedule(MonitoringScheduleName=name)

    def _schedule(self, request: Mapping[str, Any], there: Mapping[str, Any] | None) -> None:
        client = self._client()
        if there is None:
            self._unless(is_there_already, client.create_monitoring_schedule, **request)
            return
        if there["MonitoringScheduleConfig"] != request["MonitoringScheduleConfig"]:
            _not_pending(there)
            client.update_monitoring_schedule(**{k: v for k, v in request.items() if k != "Tags"})
        if there["MonitoringScheduleStatus"] == "Stopped":
            client.start_monitoring_schedule(MonitoringScheduleName=request["MonitoringScheduleName"])

    def _stop_monitoring(self, name: str) -> bool:
        client = self._client()
        with vendor_errors(f"ending the monitoring of endpoint {name}"):
            there = self._unless(is_absent, client.describe_monitoring_schedule, MonitoringScheduleName=name)
            if there is not None:
                self._unless(is_absent, client.delete_monitoring_schedule, MonitoringScheduleName=name)
        return there is not None

    def note(self, name: str, **notes: str) -> None:
        """AddTags and DeleteTags."""
        found = self._described(name)
        if found is None:
            return
        with vendor_errors(f"writing the tags of endpoint {name}"):
            added = requests.add_tags(found["EndpointArn"], notes)
            if added["Tags"]:
                self._client().add_tags(**added)
            gone = requests.delete_tags(found["EndpointArn"], notes)
            if gone["TagKeys"]:
                self._client().delete_tags(**gone)

    def tidy(self, name: str, keep: Sequence[str]) -> list[str]:
        """DeleteEndpointConfig and DeleteModel for all of this endpoint's but those of ``keep``."""
        kept = {each for each in keep if each}
        used = {variant.model for release in kept for variant in self.variants_of(release)}
        releases = [each for each in self._listed("endpoint_config", name) if each not in kept]
        models = [each for each in self._listed("model", name) if each not in used]
        client = self._client()
        with vendor_errors(f"cleaning up behind endpoint {name}"):
            for each in releases:
                self._unless(is_absent, client.delete_endpoint_config, EndpointConfigName=each)
            for each in models:
                self._unless(is_absent, client.delete_model, ModelName=each)
        return [*releases, *models]

    def _listed(self, what: str, name: str) -> list[str]:
        """Names of the configurations or models that begin with the endpoint's."""
        key, field = {
            "endpoint_config": ("EndpointConfigs", "EndpointConfigName"),
            "model": ("Models", "ModelName"),
        }[what]
        return [
            each for each in self._pages(f"list_{what}s", key, field, name) if each.startswith(f"{name}-")
        ]

    def _pages(self, call: str, key: str, field: str, name: str) -> Iterator[str]:
        with vendor_errors(f"looking for what belongs to endpoint {name}"):
            for page in self._client().get_paginator(call).paginate(NameContains=name):
                for each in page[key]:
                    yield each[field]

    def delete(self, name: str) -> list[str]:
        """The schedule first, for it keeps the endpoint; then all the rest, as far as it is there."""
        gone = [f"monitoring schedule {name}"] if self._stop_monitoring(name) else []
        self._deregister(name)
        if self._described(name) is not None:
            with vendor_errors(f"deleting endpoint {name}"):
                self._unless(is_absent, self._client().delete_endpoint, EndpointName=name)
            gone.append(f"endpoint {name}")
        with vendor_errors(f"deleting the alarms of endpoint {name}"):
            if left := sorted(self._alarms(name)):
                self._client("cloudwatch").delete_alarms(AlarmNames=left)
        return [*gone, *left, *self.tidy(name, keep=())]

    def console_url(self, name: str) -> str | None:
        """The console's page of the endpoint."""
        region = self._site.region
        return f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}#/endpoints/{name}"


def _not_pending(schedule: Mapping[str, Any]) -> None:
    """:raises PlatformUnavailable: when a schedule cannot be changed yet: it is Pending for a while."""
    if schedule["MonitoringScheduleStatus"] == "Pending":
        raise PlatformUnavailable(
            f"monitoring schedule {schedule['MonitoringScheduleName']} is still Pending"
        )


def _is_not_scaled(error: Exception) -> bool:
    """Whether the answer is that there is no such scalable target."""
    return code_of(error) == "ObjectNotFoundException" or "No scalable target" in str(error)


def _says(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an alarm is what it should be: one that is on stays on then."""
    return all(there.get(key) == value for key, value in wanted.items() if key != "Tags")
