"""One deployment's SageMaker: everything that the three kinds of work need of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.errors import ConfigError
from nightshift.platforms.sagemaker.store import folder_of

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.platforms.sagemaker.calls import Calls, Client
    from nightshift.platforms.sagemaker.config import SageMakerConfig
    from nightshift.platforms.sagemaker.prices import PriceTable
    from nightshift.platforms.sagemaker.store import JobsStore

__all__ = ["Site"]

_STOP = "stop.txt"


@dataclass(frozen=True, slots=True)
class Site:
    """Where and how jobs run, and where their files are."""

    config: SageMakerConfig
    region: str
    client: Client
    calls: Calls
    store: JobsStore
    prices: PriceTable
    jobs_dir: Path

    def ask_to_stop(self, name: str, reason: str) -> None:
        """Write down who wants a job's end; the first to ask is remembered."""
        self.store.write(folder_of(name, _STOP), reason or "asked to stop", only_if_new=True)

    def why_stopped(self, name: str) -> str | None:
        """Who asked for a job's end, None when nobody did."""
        told = self.store.read(folder_of(name, _STOP))
        return None if told is None else told.decode(errors="replace")

    def must_be_ours(self, name: str, output: Any) -> None:
        """A name that was taken already may be another deployment's, in the same account.

        :param output: where the job of that name puts its outputs.
        :raises ConfigError: when that is not our place.
        """
        if str(output).rstrip("/") != self.config.jobs_uri:
            raise ConfigError(
                f"a job {name} is there already, but it writes to {output}, not to {self.config.jobs_uri}: "
                "it is another deployment's",
                fix="give deployments that share an account different names of pipelines or DAGs",
            )
