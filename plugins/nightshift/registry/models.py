"""Model versions in MLflow's registry: registered once, found by alias, fetched into a cache."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightshift.errors import AliasMoved, ModelVersionAbsent, RegistryError
from nightshift.registry.names import CHAMPION, FINGERPRINT, METRIC_PREFIX, PARTITION
from nightshift.registry.server import but_not_if_there, connect, speaking_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entity

__all__ = ["ModelVersion", "Models"]

_READY_S = 60


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model, as our tags describe it."""

    name: str
    version: str
    run_id: str
    partition: str
    fingerprint: str
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """What ``mlflow.pyfunc.load_model`` takes."""
        return f"models:/{self.name}/{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form."""
        return {
            "name": self.name,
            "version": self.version,
            "run_id": self.run_id,
            "partition": self.partition,
            "fingerprint": self.fingerprint,
            "metrics": dict(self.metrics),
            "uri": self.uri,
        }


class Models:
    """The model registry of the MLflow server at ``uri``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self.uri)

    def register(
        self, name: str, run_id: str, partition: str, fingerprint: str, metrics: Mapping[str, float | None]
    ) -> ModelVersion:
        """The version of model ``name`` with this fingerprint and partition, made when there is none.

        The model is the one :meth:`Tracking.log_training` stored with the run. A metric of None (the rows
        did not define it) is left out.

        :raises RegistryError: when the run has no model, or MLflow refuses.
        """
        client = self._client
        with speaking_to(self.uri, f"to register a version of {name}"):
            self._ensure_model(name)
            found = self._find(name, partition, fingerprint)
            if found:
                return _read(found[0])
            model_id = self._model_of(run_id)
            created = client.create_model_version(
                name,
                source=f"models:/{model_id}",
                run_id=run_id,
                model_id=model_id,
                tags=_tags(partition, fingerprint, metrics),
                description=f"Trained on partitions up to {partition}.",
                await_creation_for=_READY_S,
            )
            return self._settle(created, partition, fingerprint)

    def _settle(self, created: Entity, partition: str, fingerprint: str) -> ModelVersion:
        """Keep the lowest of the versions that two writers made at once; take our own away if it lost."""
        winner = self._find(created.name, partition, fingerprint)[0]
        if int(winner.version) < int(created.version):
            self._client.delete_model_version(created.name, str(created.version))
        return _read(winner)

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            with but_not_if_there():
                self._client.create_registered_model(name)

    def _find(self, name: str, partition: str, fingerprint: str) -> list[Entity]:
        """Versions with these tags, lowest first."""
        found = self._client.search_model_versions(
            f"name = '{name}' and tags.`{FINGERPRINT}` = '{fingerprint}' "
            f"and tags.`{PARTITION}` = '{partition}'"
        )
        return sorted(found, key=lambda version: int(version.version))

    def _model_of(self, run_id: str) -> str:
        outputs = self._client.get_run(run_id).outputs
        if outputs is None or not outputs.model_outputs:
            raise RegistryError(
                f"run {run_id} has no model to register", fix="log the training job's output to it first"
            )
        return str(outputs.model_outputs[0].model_id)

    def champion(self, name: str) -> ModelVersion | None:
        """The version that scores, None when no version was promoted yet."""
        return self.by_alias(name, CHAMPION)

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version behind ``alias``, None when the alias or the model is not there."""
        from mlflow.exceptions import MlflowException

        with speaking_to(self.uri, f"{name}@{alias}"):
            try:
                return _read(self._client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                # MLflow says INVALID_PARAMETER_VALUE for an alias that is not set
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def get(self, name: str, version: str) -> ModelVersion:
        """One version by its number.

        :raises ModelVersionAbsent: when there is none.
        """
        from mlflow.exceptions import MlflowException

        with speaking_to(self.uri, f"{name} version {version}"):
            try:
                return _read(self._client.get_model_version(name, version))
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
                raise ModelVersionAbsent(
                    f"{name} has no version {version}",
                    fix=f"choose one of {self.uri.rstrip('/')}/#/models/{name}",
                ) from None

    def by_partition(self, name: str) -> dict[str, ModelVersion]:
        """The newest version of each partition of model ``name``; empty when there is no such model."""
        return {version.partition: version for version in self.versions(name) if version.partition}

    def versions(self, name: str) -> list[ModelVersion]:
        """Every version of model ``name``, oldest first; none when there is no such model."""
        found: list[ModelVersion] = []
        page: str | None = None
        with speaking_to(self.uri, f"the versions of {name}"):
            while True:
                versions = self._client.search_model_versions(
                    f"name = '{name}'", max_results=1000, page_token=page
                )
                found += map(_read, versions)
                page = versions.token
                if not page:
                    return sorted(found, key=lambda version: int(version.version))

    def describe(self, name: str, text: str, version: str | None = None) -> None:
        """Make ``text`` (Markdown) the description of model ``name``, or of one version of it."""
        with speaking_to(self.uri, f"to describe {name}{f' version {version}' if version else ''}"):
            if version is None:
                self._client.update_registered_model(name, text)
            else:
                self._client.update_model_version(name, version, text)

    def set_alias(self, name: str, alias: str, version: str) -> ModelVersion:
        """Point ``alias`` at ``version`` and read it back; nothing is written when it is there already.

        :raises AliasMoved: when another writer's version reads back.
        """
        now = self.by_alias(name, alias)
        if now is not None and now.version == str(version):
            return now
        with speaking_to(self.uri, f"to set {name}@{alias}"):
            self._client.set_registered_model_alias(name, alias, str(version))
        now = self.by_alias(name, alias)
        if now is None or now.version != str(version):
            raise AliasMoved(
                f"{name}@{alias} was set to version {version} and reads back as "
                f"{now.version if now else 'nothing'}",
                fix="another writer moves the same alias: set it in one place only, then try again",
            )
        return now

    def remove_alias(self, name: str, alias: str) -> None:
        """Take ``alias`` away and look whether it is gone; nothing is written when it is not there.

        :raises AliasMoved: when it reads back.
        """
        if self.by_alias(name, alias) is None:
            return
        with speaking_to(self.uri, f"to take {name}@{alias} away"):
            self._client.delete_registered_model_alias(name, alias)
        if (now := self.by_alias(name, alias)) is not None:
            raise AliasMoved(f"{name}@{alias} was taken away and reads back as {now.version}")

    def check_files(self, version: ModelVersion) -> None:
        """Fetch the model folder and look whether it is as large as MLflow noted when it was saved.

        :raises ModelVersionAbsent: when something is gone.
        """
        import yaml

        with tempfile.TemporaryDirectory(prefix="nightshift-model-") as scratch:
            folder = self.download(version, Path(scratch))
            noted = yaml.safe_load((folder / "MLmodel").read_text()).get("model_size_bytes") or 0
            files = [file for file in folder.rglob("*") if file.is_file() and file.name != "MLmodel"]
            found = sum(file.stat().st_size for file in files)
        if found < noted:
            raise ModelVersionAbsent(
                f"the files of {version.uri} are not whole: {found:,} of at least {noted:,} bytes are there",
                fix="restore the version's artifacts in MLflow, or take another version",
            )

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """The model folder of ``version`` under ``folder``, fetched once, whole or not at all."""
        target = folder / version.name / version.version
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{version.version}-", dir=target.parent))
        try:
            self._fetch(version, partial)
            with suppress(OSError):
                partial.rename(target)  # fails when another process was first; its copy is as good
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target

    def _fetch(self, version: ModelVersion, folder: Path) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with speaking_to(self.uri, f"the files of {version.uri}"):
            source = self._client.get_model_version_download_uri(version.name, version.version)
            files: Any = get_artifact_repository(source, tracking_uri=self.uri)
            files.download_artifacts("", str(folder))
        if not (folder / "MLmodel").is_file():
            raise ModelVersionAbsent(
                f"{version.uri} holds no MLflow model (no MLmodel file)",
                fix="look at the version's artifacts in MLflow",
            )

    def page(self, version: ModelVersion) -> str:
        """Where a browser shows ``version``."""
        return f"{self.uri.rstrip('/')}/#/models/{version.name}/versions/{version.version}"


def _tags(partition: str, fingerprint: str, metrics: Mapping[str, float | None]) -> dict[str, str]:
    numbers = {
        f"{METRIC_PREFIX}{key}": repr(float(value)) for key, value in metrics.items() if value is not None
    }
    return {PARTITION: partition, FINGERPRINT: fingerprint, **numbers}


def _read(entity: Entity) -> ModelVersion:
    tags = entity.tags
    metrics = {
        key.removeprefix(METRIC_PREFIX): float(value)
        for key, value in tags.items()
        if key.startswith(METRIC_PREFIX)
    }
    return ModelVersion(
        name=entity.name,
        version=str(entity.version),
        run_id=entity.run_id or "",
        partition=tags.get(PARTITION, ""),
        fingerprint=tags.get(FINGERPRINT, ""),
        metrics=metrics,
    )
