"""Makes a model version again: the recorded job on the recorded files, here, and compares what comes out."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nightshift.errors import RegistryError
from nightshift.lake.manifest import Manifest
from nightshift.platforms.base import JobInput, JobSpec, Machine, error_of, job_name
from nightshift.platforms.code import code_sha256
from nightshift.provenance.compare import Compared, compare, tolerance_of
from nightshift.provenance.record import JOB, read_record
from nightshift.registry.artifacts import Artifacts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nightshift.lake.tables import Lake
    from nightshift.platforms.base import JobRef
    from nightshift.platforms.local import LocalPlatform
    from nightshift.registry.models import ModelVersion

__all__ = ["Reproduction", "reproduce"]

_PREDICTIONS = "holdout_predictions.parquet"
_POLL_S = 0.2
_MACHINE = ("python", "platform", "processor", "threads", "processes", "gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What came of making a version again.

    :param job: the new job's name; ``output`` is the folder that it left.
    :param warnings: what is not as it was: code, packages, machine. The comparison decides, not these.
    """

    pipeline: str
    version: str
    model: str
    job: str
    output: str
    seconds: float
    warnings: tuple[str, ...]
    compared: Compared

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form."""
        compared = self.compared.to_dict()
        return {**asdict(self), "warnings": list(self.warnings), "compared": compared}


def reproduce(
    version: ModelVersion,
    *,
    mlflow_uri: str,
    lake: Lake,
    platform: LocalPlatform,
    say: Callable[[str], None],
) -> Reproduction:
    """Train ``version`` again from its record, on this machine, under a job name of its own.

    :param say: takes the lines of progress.
    :raises RegistryError: when the version has no record, or MLflow cannot be reached.
    :raises LakeError: when its files are not in the lake any more.
    :raises JobError: when the training does not end well.
    """
    artifacts = Artifacts(mlflow_uri)
    record = read_record(mlflow_uri, version.run_id)
    told = artifacts.read_json(version.run_id, JOB) if record else None
    if record is None or told is None:
        raise RegistryError(
            f"{version.name} version {version.version} was registered without the job that trained it",
            fix="only versions that were registered since records are kept can be made again",
        )
    with TemporaryDirectory(prefix="nightshift-reproduce-") as folder:
        spec, notes = _here(JobSpec.from_dict(told), record, lake, platform, Path(folder))
        ref = _run(platform, spec, version, say)
    result = platform.result(ref)
    output = platform.fetch(result.output_uri)
    environment = json.loads((output / "environment.json").read_text())
    return Reproduction(
        pipeline=version.name,
        version=version.version,
        model=spec.job["model"],
        job=ref.name,
        output=str(output),
        seconds=round(result.seconds, 3),
        warnings=(*notes, *_differences(record["environment"], environment)),
        compared=_compared(artifacts, version.run_id, record, output, spec.job["model"]),
    )


def _here(
    spec: JobSpec, record: Mapping[str, Any], lake: Lake, platform: LocalPlatform, folder: Path
) -> tuple[JobSpec, list[str]]:
    """The job as it runs here: the same document and files, this machine, today's code; and what differs."""
    inputs = tuple(_input(lake, each, record["manifests"], folder / each.channel) for each in spec.inputs)
    today, notes = code_sha256(platform.jobs_dir), []
    if today != spec.code_sha256:
        notes.append(f"code: include/jobs is {today} today, it was {spec.code_sha256}")
    gpus = min(spec.machine.gpus, platform.gpus)
    if gpus != spec.machine.gpus:
        notes.append(f"machine: the job had {spec.machine.gpus} GPUs, here it has {gpus}")
    machine = Machine(spec.machine.cpus, gpus)
    tags = {"pipeline": lake.pipeline, "reproduces": str(record["fingerprint"])}
    return replace(spec, inputs=inputs, code_sha256=today, candidates=(machine,), tags=tags), notes


def _input(lake: Lake, entry: JobInput, manifests: Mapping[str, Any], folder: Path) -> JobInput:
    """The same files of the same table version, wherever the lake is now.

    Where one of them was deleted or replaced, the versions of objects that the record names, in ``folder``.
    """
    manifest, table = Manifest.from_dict(manifests[entry.channel]), lake.table(entry.channel)
    if manifest.sha256 != entry.identity:
        raise RegistryError(
            f"the record's manifest of {entry.channel} is not the one that the job was given",
            fix="the run's artifacts in MLflow were changed: restore record.json and job.json",
        )
    table.check(manifest)
    files = tuple(file.path for file in manifest.files)
    if table.replaced(manifest):
        table.download(manifest, folder)
        return JobInput(entry.channel, folder.as_uri(), entry.identity, files)
    return JobInput(entry.channel, table.location.uri, entry.identity, files, dict(lake.location.options))


def _run(platform: LocalPlatform, spec: JobSpec, version: ModelVersion, say: Callable[[str], None]) -> JobRef:
    name = job_name(f"{version.name}-reproduce-{version.version}", [uuid.uuid4().hex])
    ref = platform.submit(spec, name)
    say(f"job {name} on {len(spec.inputs)} tables")
    try:
        _follow(platform, ref, say)
    except BaseException:
        platform.stop(ref, "nobody waits for it any more")
        raise
    error = error_of(ref, platform.status(ref))
    if error is not None:
        raise error
    return ref


def _follow(platform: LocalPlatform, ref: JobRef, say: Callable[[str], None]) -> None:
    """Until the job has ended, with its log on the way."""
    position, over = 0, False
    while True:
        chunk = platform.logs(ref, position)
        position = chunk.position
        for line in chunk.lines:
            say(f"  {line}")
        if over and not chunk.lines:
            return
        status = platform.status(ref)
        over = status is None or status.state.is_terminal
        if not over:
            time.sleep(_POLL_S)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the environment is not as it was; nothing is said of what was not recorded."""
    if not then:
        return ["environment: that of the training was not recorded"]
    packages = {**then["packages"], **now["packages"]}
    pairs = [(name, then.get(name), now.get(name)) for name in _MACHINE]
    pairs += [(name, then["packages"].get(name), now["packages"].get(name)) for name in packages]
    return [
        f"{name}: {after or 'none'} here, it was {before or 'none'}"
        for name, before, after in pairs
        if before != after
    ]


def _compared(
    artifacts: Artifacts, run_id: str, record: Mapping[str, Any], output: Path, model: str
) -> Compared:
    metrics = json.loads((output / "metrics.json").read_text())
    stored = artifacts.read(run_id, _PREDICTIONS)
    with TemporaryDirectory() as folder:
        before = Path(folder) / _PREDICTIONS
        if stored is not None:
            before.write_bytes(stored)
        return compare(
            {"then": record["metrics"], "now": metrics},
            before if stored is not None else None,
            output / _PREDICTIONS,
            tolerance_of(model),
        )
