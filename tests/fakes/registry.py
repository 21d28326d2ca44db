"""A model registry in memory, for what asks one and is not about MLflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nightshift.errors import ModelVersionAbsent, RegistryError
from nightshift.registry.models import ModelVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FakeModels"]


@dataclass
class FakeModels:
    """Versions of one model, and aliases; ``down`` refuses everything, ``alias_down`` the alias only."""

    name: str
    numbers: Sequence[str]
    aliases: dict[str, str] = field(default_factory=dict)
    down: bool = False
    alias_down: bool = False
    uri: str = "http://mlflow.example.org"

    def __call__(self, uri: str) -> FakeModels:
        """In the place of the class itself."""
        return self

    def versions(self, name: str) -> list[ModelVersion]:
        self._answer()
        return [
            ModelVersion(name, each, f"run-{each}", f"2013-01-0{each}", f"f{each}") for each in self.numbers
        ]

    def get(self, name: str, version: str) -> ModelVersion:
        found = {each.version: each for each in self.versions(name)}
        if version not in found:
            raise ModelVersionAbsent(f"{name} has no version {version}")
        return found[version]

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        self._answer()
        return self.get(name, self.aliases[alias]) if alias in self.aliases else None

    def champion(self, name: str) -> ModelVersion | None:
        return self.by_alias(name, "champion")

    def set_alias(self, name: str, alias: str, version: str) -> ModelVersion:
        if self.alias_down:
            raise RegistryError("MLflow does not answer")
        found = self.get(name, version)
        self.aliases[alias] = version
        return found

    def check_files(self, version: ModelVersion) -> None:
        self._answer()

    def page(self, version: ModelVersion) -> str:
        return f"{self.uri}/#/models/{version.name}/versions/{version.version}"

    def _answer(self, *_: Any) -> None:
        if self.down:
            raise RegistryError("MLflow does not answer")
