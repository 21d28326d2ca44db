"""From a platform's name to its endpoints, signed in: the same call in worker, triggerer and command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightshift.errors import ConfigError
from nightshift.platforms.endpoints import ENDPOINT_PLATFORMS

if TYPE_CHECKING:
    from nightshift.config.settings import Settings
    from nightshift.platforms.endpoints import Endpoints

__all__ = ["endpoints"]


def endpoints(platform: str, settings: Settings) -> Endpoints:
    """The endpoints of a platform.

    :raises ConfigError: when it has none.
    """
    if platform == "sagemaker":
        from nightshift.hooks.sagemaker import sagemaker_platform
        from nightshift.platforms.sagemaker.endpoint import SageMakerEndpoints

        return SageMakerEndpoints(sagemaker_platform(settings).site)
    raise ConfigError(
        f"platform {platform!r} has no endpoints", fix=f"use one of: {', '.join(ENDPOINT_PLATFORMS)}"
    )
