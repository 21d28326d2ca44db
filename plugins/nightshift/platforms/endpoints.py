"""What a platform must do that answers requests: endpoints, in words that every cloud has.

An endpoint serves one *release*: a named set of variants, each a model with its share of the requests. A
release never changes once it is made; its name says what is in it. What a deployment has to remember is
kept with the endpoint itself, as notes, where every worker, the triggerer and a person can read it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nightshift.platforms.base import job_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nightshift.config.pipeline import EndpointConfig

__all__ = [
    "BARRED",
    "CHALLENGER",
    "CHAMPION",
    "ENDPOINT_PLATFORMS",
    "OWNER",
    "PREVIOUS",
    "SINCE",
    "STABLE",
    "UNDO",
    "EndpointSpec",
    "EndpointState",
    "EndpointStatus",
    "Endpoints",
    "Served",
    "Variant",
    "VariantStatus",
    "endpoint_name",
]

ENDPOINT_PLATFORMS = ("sagemaker",)
"""Platforms that have endpoints; on the others the section of the pipeline file counts for nothing."""

CHAMPION, CHALLENGER = "champion", "challenger"
"""The variants: the one that serves, and the one that is to take its place."""

STABLE, PREVIOUS = "stable", "previous"
"""Notes: the release that was deployed and checked last, and the one before it."""
OWNER, SINCE = "owner", "since"
"""Notes: whose deployment is under way, and since when both variants answer (release and epoch seconds)."""
UNDO, BARRED = "undo", "barred"
"""Notes: why the endpoint has to go back to its stable release; the version a person has taken off it."""

_NAME = 40  # a release's and a model's name hold the endpoint's, and 63 characters are the least limit


def endpoint_name(pipeline: str, deployment: str) -> str:
    """The name of a pipeline's endpoint: the same for ever, unlike that of another deployment."""
    return job_name(pipeline, ["endpoint", deployment, pipeline], limit=_NAME)


class EndpointState(StrEnum):
    """Where an endpoint stands."""

    SERVING = "serving"
    CHANGING = "changing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint as its pipeline file wants it."""

    name: str
    config: EndpointConfig
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Served:
    """A model version that is to answer.

    :param folder: its MLflow model folder; ``job`` is the job document that its features are made by.
    """

    version: str
    folder: Path
    job: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """One model of a release. ``model`` is the platform's name of it; ``weight`` its share at first.

    :param version: the model's, as far as it was read from the platform.
    """

    name: str
    model: str
    weight: float
    version: str = ""


@dataclass(frozen=True, slots=True)
class VariantStatus:
    """One model that answers, with its share of the requests and the machines that do it."""

    name: str
    model: str
    version: str
    weight: float
    instances: int
    instance_type: str
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """An endpoint as it is.

    :param release: what serves now; ``going_to`` what it is being changed to, empty where it is not.
    :param reason: the platform's, for the last change that failed; it may have none.
    """

    name: str
    state: EndpointState
    release: str
    going_to: str = ""
    variants: tuple[VariantStatus, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    created_at: float = 0.0

    def variant(self, name: str) -> VariantStatus | None:
        """The variant of that name."""
        return next((each for each in self.variants if each.name == name), None)

    @property
    def usd_per_hour(self) -> float:
        """What all of its machines cost, as long as it is there."""
        return sum(each.usd_per_hour for each in self.variants)


class Endpoints(ABC):
    """The endpoints of a platform. Everything is get-or-create by a name that we chose: it may be repeated.

    :raises PlatformUnavailable: from every method, when the platform does not answer.
    """

    poll_s: float = 10.0

    @abstractmethod
    def check_settings(self, spec: EndpointSpec) -> None:
        """Look whether all is set that this endpoint needs; nothing is changed.

        :raises ConfigError: when something is not.
        :raises CapacityUnavailable: when no machine is as large as it asks for.
        """

    @abstractmethod
    def find(self, tags: Mapping[str, str]) -> list[EndpointStatus]:
        """Every endpoint with these tags, whoever wants it."""

    @abstractmethod
    def model(self, spec: EndpointSpec, served: Served) -> str:
        """Make a model version known to the platform; the platform's name of it."""

    @abstractmethod
    def release(self, spec: EndpointSpec, variants: Sequence[Variant]) -> str:
        """Make a release; its name."""

    @abstractmethod
    def variants_of(self, release: str) -> tuple[Variant, ...]:
        """What is in a release; nothing where there is none of that name."""

    @abstractmethod
    def status(self, name: str) -> EndpointStatus | None:
        """The endpoint, None where there is none."""

    @abstractmethod
    def deploy(
        self,
        name: str,
        release: str,
        spec: EndpointSpec | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> bool:
        """Make the endpoint serve this release, or begin to; False where another change keeps it from that.

        :param spec: needed to make an endpoint that is not there yet; guards the change with its alarms,
            where the platform can.
        :param notes: of an endpoint that is made.
        """

    @abstractmethod
    def shift(self, name: str, weights: Mapping[str, float]) -> None:
        """Give the variants of what serves now these shares of the requests, or begin to."""

    @abstractmethod
    def ask(self, name: str, variant: str, lines: Sequence[str]) -> list[str]:
        """What one variant answers to JSON lines, one line each.

        :raises DeploymentFailed: when its model refuses them.
        """

    @abstractmethod
    def settle(self, spec: EndpointSpec) -> None:
        """Make autoscaling, monitoring and alarms what the pipeline file says, or take them away."""

    @abstractmethod
    def note(self, name: str, **notes: str) -> None:
        """Keep notes with the endpoint; an empty one is taken away."""

    @abstractmethod
    def tidy(self, name: str, keep: Sequence[str]) -> list[str]:
        """Remove the releases and models of this endpoint that are in none of ``keep``; their names."""

    @abstractmethod
    def delete(self, name: str) -> list[str]:
        """Remove the endpoint and all that belongs to it; the names of what was there."""

    def console_url(self, name: str) -> str | None:
        """Where a person can look at it."""
        return None
