"""What serves behind an endpoint: a process for each model, requests by weight, changes that may fail."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from localcloud.aws.cloud import Closing
from localcloud.aws.errors import JobError
from localcloud.aws.models import find_model
from localcloud.aws.serving import ModelServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from localcloud.aws.cloud import Cloud
    from localcloud.aws.records import Record

__all__ = ["CHANGING", "Host", "change", "host_of", "settle_weights"]

CHANGING = frozenset({"Creating", "Updating", "RollingBack", "Deleting"})
_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity "
    "error. Please retry using a different ML instance type or after some time."
)
_PING = (
    "The {} container for production variant {} did not pass the ping health check. Please check CloudWatch "
    "logs for this endpoint."
)
_INTERRUPTED = "InternalServerError: We encountered an internal error. Please try again."
_ALARM = "One or more alarms of the deployment went off: {}."
_hosts: WeakKeyDictionary[Cloud, dict[str, Host]] = WeakKeyDictionary()
_lock = threading.Lock()


class Server:
    """One model's server and the thread that it lives as long as."""

    def __init__(self, cloud: Cloud, endpoint: Record, variant: str, model: str) -> None:
        self.model = model
        self.server: ModelServer | None = None
        self._cloud = cloud
        self._variant = variant
        self._ready, self._over, self._gone = threading.Event(), threading.Event(), threading.Event()
        threading.Thread(
            target=self._live, args=(endpoint,), daemon=True, name=f"{endpoint.name}/{variant}"
        ).start()

    def _live(self, endpoint: Record) -> None:
        log = self._cloud.logs.open(f"/aws/sagemaker/Endpoints/{endpoint.name}", self._variant)
        stream = f"i-{time.time_ns():016x}"
        server = None
        try:
            model = find_model(self._cloud, self.model)
            server = ModelServer(self._cloud, model, endpoint.name, lambda line: log.line(stream, line))
            if server.start({}, self._over.is_set):
                self.server = server
                self._ready.set()
                while not self._over.wait(0.2) and not self._cloud.closing.is_set():
                    pass
        except Closing:
            return
        except Exception as error:  # noqa: BLE001 - whoever waits for it says that it did not come up
            log.line(stream, f"{type(error).__name__}: {error}")
        finally:
            self._ready.set()
            if server is not None:
                server.stop()
            log.close()
            self._gone.set()

    def wait(self) -> None:
        """:raises JobError: when it does not come up."""
        while not self._ready.wait(0.1):
            self._cloud.check()
        if self.server is None:
            raise JobError(_PING.format("primary", self._variant))

    def stop(self) -> None:
        """End it, and wait for that."""
        self._over.set()
        self._gone.wait(60)


class Host:
    """Everything that serves one endpoint."""

    def __init__(self, cloud: Cloud, record: Record) -> None:
        self.cloud = cloud
        self.record = record
        self.servers: dict[str, Server] = {}
        self._random = random.Random(record.name)

    def start(self, variants: Sequence[Mapping[str, Any]]) -> dict[str, Server]:
        """Servers for these variants; a model that serves already is not started again.

        :raises JobError: when one does not come up; those that were started for it are ended then.
        """
        running = {server.model: server for server in self.servers.values()}
        started: list[Server] = []
        wanted: dict[str, Server] = {}
        for variant in variants:
            model = variant["ModelName"]
            if model not in running:
                running[model] = Server(self.cloud, self.record, variant["VariantName"], model)
                started.append(running[model])
            wanted[variant["VariantName"]] = running[model]
        try:
            for server in started:
                server.wait()
        except BaseException:
            self._stop(started)
            raise
        return wanted

    def take(self, wanted: dict[str, Server]) -> None:
        """Let these serve from now on, and end the others."""
        kept = {id(server) for server in wanted.values()}
        old, self.servers = self.servers, wanted
        self._stop([server for server in old.values() if id(server) not in kept])

    def close(self) -> None:
        """End all."""
        self.take({})
        with _lock:
            _hosts.get(self.cloud, {}).pop(self.record.name, None)

    def choose(self, target: str = "") -> tuple[str, Server]:
        """The variant that answers, by the weights, or the one that is asked for.

        :raises KeyError: when there is none.
        """
        servers = self.servers
        if target:
            return target, servers[target]
        shares = {
            each["VariantName"]: float(each.get("CurrentWeight", 1.0))
            for each in self.record.shown.get("ProductionVariants", ())
            if each["VariantName"] in servers
        }
        if sum(shares.values()) <= 0:
            shares = dict.fromkeys(servers, 1.0)
        (name,) = self._random.choices(list(shares), weights=list(shares.values()))
        return name, servers[name]

    @staticmethod
    def _stop(servers: Sequence[Server]) -> None:
        threads = [threading.Thread(target=server.stop) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def host_of(cloud: Cloud, record: Record) -> Host:
    """What serves an endpoint; after a restart of this server it comes up again, and goes on changing."""
    with _lock:
        hosts = _hosts.setdefault(cloud, {})
        host = hosts.get(record.name)
        if host is not None:
            return host
        host = hosts[record.name] = Host(cloud, record)
    if record.shown["EndpointStatus"] != "Failed":
        _come_back(cloud, host)
    return host


def _come_back(cloud: Cloud, host: Host) -> None:
    """An update that was under way is given up, as one that failed; a creation has failed."""
    record = host.record
    try:
        if "ProductionVariants" not in record.shown:
            raise JobError(_INTERRUPTED)
        config = _config(cloud, record.shown["EndpointConfigName"])
        host.take(host.start(config["ProductionVariants"]))
    except JobError as error:
        cloud.records.change(record, EndpointStatus="Failed", FailureReason=error.reason)
        return
    if record.shown["EndpointStatus"] in CHANGING:
        _serve(cloud, record, _INTERRUPTED)


def change(cloud: Cloud, record: Record, request: dict[str, Any]) -> None:
    """Bring the endpoint to a configuration, in a thread of its own."""
    with _lock:
        host = _hosts.setdefault(cloud, {}).setdefault(record.name, Host(cloud, record))
    cloud.run(record, lambda _, __: _Change(cloud, host, request).run())


class _Change:
    """One creation or update."""

    def __init__(self, cloud: Cloud, host: Host, request: dict[str, Any]) -> None:
        self.cloud, self.host, self.record, self.request = cloud, host, host.record, request
        self.first = self.record.shown["EndpointStatus"] == "Creating"

    def run(self) -> None:
        """To its end, good or bad."""
        try:
            wanted = self._started()
        except JobError as error:
            self._fail(error.reason)
        except Closing:
            raise
        except Exception as error:
            if self.cloud.closing.is_set():
                raise Closing from error
            self._fail(f"InternalServerError: {type(error).__name__}: {error}")
        else:
            self._take(wanted)

    def _started(self) -> dict[str, Server]:
        operation = "CreateEndpoint" if self.first else "UpdateEndpoint"
        name = self.record.name
        slow = self.cloud.faults.take(("slow_start",), operation, self.request, name)
        end = time.monotonic() + (slow.seconds if slow else 0.0)
        while time.monotonic() < end:
            self.cloud.check()
            time.sleep(0.05)
        if self.cloud.faults.take(("capacity",), operation, self.request, name):
            raise JobError(_CAPACITY)
        if alarmed := self._alarmed():
            raise JobError(_ALARM.format(", ".join(alarmed)))
        config = _config(self.cloud, self.request["EndpointConfigName"])
        return self.host.start(config["ProductionVariants"])

    def _alarmed(self) -> list[str]:
        """Alarms of the deployment that are on."""
        watched = self.request.get("DeploymentConfig", {}).get("AutoRollbackConfiguration", {})
        names = {each["AlarmName"] for each in watched.get("Alarms", ())}
        return sorted(names & _alarms_on()) if names else []

    def _take(self, wanted: dict[str, Server]) -> None:
        config = _config(self.cloud, self.request["EndpointConfigName"])
        before = {each["VariantName"]: each for each in self.record.shown.get("ProductionVariants", ())}
        kept = before if self.request.get("RetainAllVariantProperties") else {}
        left_out = {
            each["VariantPropertyType"] for each in self.request.get("ExcludeRetainedVariantProperties", ())
        }
        variants = [
            _shown(each, kept.get(each["VariantName"]), left_out) for each in config["ProductionVariants"]
        ]
        self.record.shown["EndpointConfigName"] = self.request["EndpointConfigName"]
        capture = _captured(config)
        self.record.shown.pop("DataCaptureConfig", None)
        self.cloud.records.change(self.record, ProductionVariants=variants, **capture)
        self.host.take(wanted)
        _serve(self.cloud, self.record, "")

    def _fail(self, reason: str) -> None:
        if self.first:
            self.cloud.records.change(self.record, EndpointStatus="Failed", FailureReason=reason[:1024])
            return
        self.cloud.records.change(self.record, EndpointStatus="RollingBack")
        _serve(self.cloud, self.record, reason)


def _serve(cloud: Cloud, record: Record, reason: str) -> None:
    with record.lock:
        for key in ("PendingDeploymentSummary", "FailureReason"):
            record.shown.pop(key, None)
    told = {"FailureReason": reason[:1024]} if reason else {}
    cloud.records.change(record, EndpointStatus="InService", **told)


def _config(cloud: Cloud, name: str) -> dict[str, Any]:
    """:raises JobError: when it was deleted meanwhile."""
    record = cloud.records.find("endpoint-config", name)
    if record is None:
        raise JobError(f"Could not find endpoint configuration {name}.")
    return record.request


def _shown(
    variant: Mapping[str, Any], before: Mapping[str, Any] | None, left_out: set[str]
) -> dict[str, Any]:
    """A variant as Describe shows it; of one that was there, its machines and its weight may be kept."""
    weight, count = variant.get("InitialVariantWeight", 1.0), variant.get("InitialInstanceCount", 1)
    if before and "DesiredWeight" not in left_out:
        weight = before["DesiredWeight"]
    if before and "DesiredInstanceCount" not in left_out:
        count = before["DesiredInstanceCount"]
    shares = {"CurrentWeight": weight, "DesiredWeight": weight}
    return {
        "VariantName": variant["VariantName"],
        **shares,
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": count,
    }


def _captured(config: Mapping[str, Any]) -> dict[str, Any]:
    wanted = config.get("DataCaptureConfig")
    if not wanted:
        return {}
    on = wanted.get("EnableCapture", False)
    shown = {
        "EnableCapture": on,
        "CaptureStatus": "Started" if on else "Stopped",
        "CurrentSamplingPercentage": wanted["InitialSamplingPercentage"],
        "DestinationS3Uri": wanted["DestinationS3Uri"],
        "KmsKeyId": wanted.get("KmsKeyId", ""),
    }
    return {"DataCaptureConfig": shown}


def settle_weights(cloud: Cloud, record: Record, wanted: Sequence[Mapping[str, Any]]) -> None:
    """Change shares and machines, in a thread of its own."""

    def work(_: Cloud, __: Record) -> None:
        variants = [dict(each) for each in record.shown.get("ProductionVariants", ())]
        for variant in variants:
            for each in wanted:
                if each["VariantName"] == variant["VariantName"]:
                    _weigh(variant, each)
        cloud.records.change(record, ProductionVariants=variants)
        _serve(cloud, record, "")

    cloud.run(record, work)


def _weigh(variant: dict[str, Any], wanted: Mapping[str, Any]) -> None:
    for desired, current in (
        ("DesiredWeight", "CurrentWeight"),
        ("DesiredInstanceCount", "CurrentInstanceCount"),
    ):
        if desired in wanted:
            variant[desired] = variant[current] = wanted[desired]


def _alarms_on() -> set[str]:
    """Names of moto's alarms that are in the state ALARM."""
    from moto.cloudwatch.models import cloudwatch_backends

    from localcloud.aws.home import ACCOUNT, REGION

    found = cloudwatch_backends[ACCOUNT][REGION].alarms
    return {name for name, alarm in found.items() if alarm.state_value == "ALARM"}
