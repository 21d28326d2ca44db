"""One stack for all chaos tests: every component real, ended with every process it started.

``PLATFORM=sagemaker`` runs the same tests with jobs on a loopback AWS.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nightshift.config.settings import PROJECT, Settings
from nightshift.embedded.airflow_api import AirflowApi
from nightshift.embedded.ports import Ports, free_port
from nightshift.hooks.platform import connect
from tests.chaos.deployment import Chaos, ChaosStack, wait_for
from tests.fakes.toy_jobs import make_toy_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.chaos.deployment import Start

DAGS = ("chaos", "chaos_hurried", "reap_orphans")


def _project(folder: Path) -> Path:
    """A project of our own: the real plugins and pipelines, other DAGs."""
    (folder / "dags").mkdir(parents=True)
    for name in ("plugins", "include"):
        (folder / name).symlink_to(PROJECT / name)
    for file in (Path(__file__).with_name("chaos_dag.py"), PROJECT / "dags" / "reap_orphans.py"):
        shutil.copy(file, folder / "dags")
    return folder


def _jobs(folder: Path) -> Path:
    """The toy jobs, with the file that the pipeline file asks for."""
    make_toy_jobs(folder)
    features = folder / "jobs" / "features" / "flight_delays.py"
    features.parent.mkdir()
    features.touch()
    return folder


PLATFORM = os.environ.get("PLATFORM") or "local"


@contextmanager
def _cloud(home: Path) -> Iterator[Mapping[str, str]]:
    """The options of the platform that the jobs run on, and what signs in there in the environment."""
    if PLATFORM == "local":
        yield {}
        return
    from localcloud.aws import running

    with running(home, "--parallel", "16", "--grace", "1") as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment.items():
            patch.setenv(name, value)
        jobs = {name: text for name, text in aws.options.items() if name.startswith("sagemaker")}
        yield {**jobs, "platform": PLATFORM, "sagemaker_poll_s": "0.3", "sagemaker_late_s": "0"}


@pytest.fixture(scope="package")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    """The running stack."""
    home = tmp_path_factory.mktemp("chaos")
    options = {
        "home": str(home / "home"),
        "project": str(_project(home / "project")),
        "jobs_dir": str(_jobs(home / "toy")),
    }
    with _cloud(home / "aws") as cloud:
        settings = Settings.from_lookup({**options, **cloud}.get)
        yield from _running(ChaosStack(settings, Ports(free_port(), free_port())))


def _running(stack: ChaosStack) -> Iterator[Chaos]:
    stack.runs.mkdir(parents=True)
    try:
        stack.start()
        api = AirflowApi(stack.airflow_url)

        def errors() -> str:
            return "\n".join(api.import_errors())

        wait_for(lambda: all(api.dag(dag_id) for dag_id in DAGS), 60, "the DAGs are known", errors)
        for dag_id in DAGS:
            api.call("PATCH", f"dags/{dag_id}", json={"is_paused": dag_id == "reap_orphans"})
        yield Chaos(stack, api, connect(PLATFORM, stack.settings))
    finally:
        stack.stop()


@pytest.fixture
def start(chaos: Chaos) -> Iterator[Start]:
    """Starts runs, which the end of the test ends; revives what the test left dead."""
    with chaos.runs() as begin:
        yield begin
