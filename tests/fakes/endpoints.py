"""Endpoints in memory, for what deploys to them and is not about a cloud."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nightshift.errors import PlatformUnavailable
from nightshift.platforms.endpoints import (
    Endpoints,
    EndpointSpec,
    EndpointState,
    EndpointStatus,
    Served,
    Variant,
    VariantStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FakeEndpoints"]


@dataclass
class FakeEndpoints(Endpoints):
    """One endpoint. A change is over after ``looks`` looks at it.

    :param bad: models that do not come up; an endpoint goes back on its own then.
    :param answer: what a model of a version answers to lines.
    """

    looks: int = 1
    bad: set[str] = field(default_factory=set)
    answer: Callable[[str, Sequence[str]], list[str]] = lambda _, lines: list(lines)
    down: int = 0
    poll_s: float = 0.001
    made: dict[str, tuple[Variant, ...]] = field(default_factory=dict)
    now: EndpointStatus | None = None
    calls: list[str] = field(default_factory=list)
    settled: int = 0
    on_settle: Callable[[], None] = lambda: None
    settings: Callable[[], None] = lambda: None
    others: list[EndpointStatus] = field(default_factory=list)
    _left: int = 0

    def check_settings(self, spec: EndpointSpec) -> None:
        self.settings()

    def find(self, tags: Mapping[str, str]) -> list[EndpointStatus]:
        return [*([self.now] if self.now else []), *self.others]

    def model(self, spec: EndpointSpec, served: Served) -> str:
        return f"model-{served.version}"

    def release(self, spec: EndpointSpec, variants: Sequence[Variant]) -> str:
        name = "+".join(f"{each.model.removeprefix('model-')}" for each in variants)
        self.made[name] = tuple(variants)
        return name

    def variants_of(self, release: str) -> tuple[Variant, ...]:
        found = self.made.get(release, ())
        return tuple(replace(each, version=each.model.removeprefix("model-")) for each in found)

    def status(self, name: str) -> EndpointStatus | None:
        if self.down:
            self.down -= 1
            raise PlatformUnavailable("throttled")
        if self.now is not None and self.now.state is EndpointState.CHANGING:
            self._left -= 1
            if self._left < 0:
                self._arrive(self.now)
        return self.now

    def _arrive(self, now: EndpointStatus) -> None:
        variants = self.made[now.going_to]
        if {each.model for each in variants} & self.bad:
            first = not now.release
            state = EndpointState.FAILED if first else EndpointState.SERVING
            self.now = replace(now, state=state, going_to="", reason="did not answer its ping")
            return
        shown = tuple(
            VariantStatus(each.name, each.model, each.model.removeprefix("model-"), each.weight, 1, "m", 0.1)
            for each in variants
        )
        self.now = replace(
            now, state=EndpointState.SERVING, release=now.going_to, going_to="", variants=shown, reason=""
        )

    def deploy(
        self,
        name: str,
        release: str,
        spec: EndpointSpec | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> bool:
        if self.now is None:
            self.now = EndpointStatus(name, EndpointState.CHANGING, "", release, notes=dict(notes or {}))
        elif self.now.state is EndpointState.CHANGING:
            return self.now.going_to == release
        elif self.now.release == release and self.now.state is EndpointState.SERVING:
            return True
        else:
            self.now = replace(self.now, state=EndpointState.CHANGING, going_to=release)
        self.calls.append(f"deploy {release}")
        self._left = self.looks
        return True

    def shift(self, name: str, weights: Mapping[str, float]) -> None:
        assert self.now is not None
        self.calls.append("shift " + " ".join(f"{key}={value:g}" for key, value in sorted(weights.items())))
        variants = tuple(replace(each, weight=weights[each.name]) for each in self.now.variants)
        self.now = replace(self.now, variants=variants)

    def ask(self, name: str, variant: str, lines: Sequence[str]) -> list[str]:
        assert self.now is not None
        found = self.now.variant(variant)
        assert found is not None
        self.calls.append(f"ask {found.version}")
        return self.answer(found.version, lines)

    def settle(self, spec: EndpointSpec) -> None:
        self.on_settle()
        self.settled += 1

    def note(self, name: str, **notes: str) -> None:
        assert self.now is not None
        kept = {key: value for key, value in {**self.now.notes, **notes}.items() if value}
        self.now = replace(self.now, notes=kept)

    def tidy(self, name: str, keep: Sequence[str]) -> list[str]:
        gone = [each for each in self.made if each not in keep]
        for each in gone:
            del self.made[each]
        return gone

    def delete(self, name: str) -> list[str]:
        self.calls.append("delete")
        self.now = None
        return [name, *self.tidy(name, ())]

    def state(self) -> dict[str, Any]:
        """What serves, with its notes."""
        assert self.now is not None
        variants = {each.name: (each.version, round(each.weight, 6)) for each in self.now.variants}
        return {"release": self.now.release, "variants": variants, "notes": dict(self.now.notes)}
