"""The loopback cloud that an embedded stack can bring along: its service, and what it tells of itself."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nightshift.config.settings import Settings
from nightshift.embedded.ports import free_port
from nightshift.embedded.processes import Service, Services
from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["PLATFORMS", "cloud_service", "enter", "running_platform", "stacks", "start_cloud"]

PLATFORMS = {"local": "", "sagemaker": "aws"}
"""Platforms that an embedded stack can run on, and the loopback cloud that each needs."""

_OURS = "AIRFLOW__NIGHTSHIFT__"
_REAL = (f"{_OURS}SAGEMAKER_", f"{_OURS}GLUE_", f"{_OURS}LAKE_", f"{_OURS}LANDING_")


def enter(platform: str) -> None:
    """Let this process, and all that it starts, work on ``platform``.

    A cloud's stack has a home of its own, below the local one's: another lake, another MLflow, another
    Airflow. Signing in to its loopback cloud comes from what that cloud wrote down when it was started.

    :raises ConfigError: when no such platform can be had on this machine.
    """
    if platform not in PLATFORMS:
        raise ConfigError(
            f"the embedded stack cannot run on {platform!r}", fix=f"use one of: {', '.join(PLATFORMS)}"
        )
    if not PLATFORMS[platform]:
        return
    home = Settings.from_environment().home / platform
    for name in [name for name in os.environ if name.startswith(_REAL)]:
        del os.environ[name]  # a real deployment's, which would be taken for the loopback cloud's
    pace = {f"{platform}_poll_s": "1"}  # nobody counts the calls here
    _set(home=str(home), platform=platform, loopback=PLATFORMS[platform], **pace)
    _adopt(_told(home, PLATFORMS[platform]))


def stacks(settings: Settings) -> list[Settings]:
    """Of all stacks that there may be: these settings', and those of every cloud below them."""
    below = [(settings.home / name, cloud) for name, cloud in PLATFORMS.items() if cloud]
    found = [replace(settings, home=home, loopback=cloud) for home, cloud in below if home.exists()]
    return [settings, *found]


def running_platform(settings: Settings) -> str:
    """The platform of the stack that runs; local where none does, or more than one."""
    running = [each for each in stacks(settings) if Services(each.home).find("mlflow") is not None]
    alone = running[0] if len(running) == 1 else settings
    return next((name for name, cloud in PLATFORMS.items() if cloud and cloud == alone.loopback), "local")


def start_cloud(settings: Settings) -> Settings:
    """Start the loopback cloud, unless it runs, and wait until it is ready; the settings with it."""
    services = Services(settings.home)
    service = cloud_service(settings)
    services.start(service)
    services.wait(service)
    _adopt(_told(settings.home, settings.loopback))
    return Settings.from_environment()


def cloud_service(settings: Settings) -> Service:
    """The loopback cloud of these settings, on the ports that it had before."""
    name, home = settings.loopback, settings.home
    folder = home / name
    folder.mkdir(parents=True, exist_ok=True)
    ports = _ports(home / "run" / f"{name}-ports.json")
    told = folder / f"{name}.json"
    runs = Services(home).find(name) is not None
    if not runs:
        told.unlink(missing_ok=True)
    command = (
        *(sys.executable, "-m", f"localcloud.{name}", "--home", str(folder)),
        *("--port", str(ports["control"]), "--s3-port", str(ports["storage"])),
    )
    path = os.pathsep.join([str(settings.project / "include"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}
    return Service(name, command, environment, folder, told.exists)


def _ports(file: Path) -> dict[str, int]:
    if file.exists():
        found: dict[str, int] = json.loads(file.read_text())
        return found
    chosen = {"control": free_port(), "storage": free_port()}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(chosen))
    return chosen


def _told(home: Path, cloud: str) -> Mapping[str, Any]:
    """What the cloud wrote down when it was ready; nothing before its first start."""
    try:
        document: Mapping[str, Any] = json.loads((home / cloud / f"{cloud}.json").read_text())
    except FileNotFoundError:
        return {}
    return document


def _adopt(told: Mapping[str, Any]) -> None:
    _set(**told.get("options", {}))
    os.environ.update(told.get("environment", {}))


def _set(**options: str) -> None:
    os.environ.update({f"{_OURS}{name.upper()}": str(value) for name, value in options.items()})
