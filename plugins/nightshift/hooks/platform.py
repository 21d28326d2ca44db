"""From a platform's name to a platform that is signed in: the same call in worker and triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from nightshift.config.settings import Settings
    from nightshift.platforms.base import Platform

__all__ = ["PLATFORMS", "connect"]

PLATFORMS = ("local", "sagemaker")


def connect(name: str, settings: Settings) -> Platform:
    """The platform of that name.

    :raises ConfigError: when there is none.
    """
    if name == "local":
        from nightshift.platforms.local import LocalPlatform

        return LocalPlatform(settings.jobs_home, settings.jobs_dir, usd_per_hour=settings.local_usd_per_hour)
    if name == "sagemaker":
        from nightshift.hooks.sagemaker import sagemaker_platform

        return sagemaker_platform(settings)
    raise ConfigError(f"there is no platform {name!r}", fix=f"use one of: {', '.join(PLATFORMS)}")
