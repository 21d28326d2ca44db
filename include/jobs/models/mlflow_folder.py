"""Importing MLflow so that it neither talks over our log nor calls home, and what models save alike."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

__all__ = ["nullable", "pinned", "quiet_mlflow"]

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """MLflow's warnings stay, its chatter and progress bars do not; all is put back at the end."""
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    logger = logging.getLogger("mlflow")
    import mlflow.pyfunc  # noqa: F401 - first: it sets loggers and warning filters of its own

    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
            yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def pinned(*packages: str) -> list[str]:
    """Return ``name==version`` as installed here, without a build's local part (``+cpu``)."""
    return [f"{name}=={version(name).split('+')[0]}" for name in packages]


def nullable(rows: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    """Return rows whose numbers are all missing: the signature inferred from them says they may be."""
    return rows.assign(**dict.fromkeys(numbers, float("nan")))
