"""The metric lines that jobs print, as SageMaker reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["definitions", "objective"]

_CLASSIFIER = ("roc_auc", "average_precision", "log_loss", "brier", "accuracy")
_MACHINE = ("samples_per_s", "peak_memory_mib", "peak_gpu_memory_mib")
_NAMES: dict[str, tuple[str, ...]] = {
    "train": (
        *(f"{part}_{name}" for part in ("train", "validation", "holdout") for name in
          ("rows", "positive_rate", *_CLASSIFIER)),
        *_MACHINE,
    ),
    "evaluate": tuple(
        f"{model}_{name}" for model in ("challenger", "champion") for name in (*_CLASSIFIER, "latency_ms")
    ),
    "features": ("feature_rows", "rows_per_s"),
}  # fmt: skip
_MINIMISED = frozenset({"log_loss", "brier"})


def definitions(kind: str, tuning: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """``MetricDefinitions`` for a job of this kind; the last value that a job printed is the one kept."""
    names = (objective(tuning)["MetricName"],) if tuning is not None else _NAMES.get(kind, ())
    return [{"Name": name, "Regex": rf"\[metric\] {name}=(-?[0-9][0-9.eE+-]*)"} for name in names]


def objective(tuning: Mapping[str, Any]) -> dict[str, str]:
    """What a tuning job makes as good as it can."""
    metric = tuning.get("metric", "average_precision")
    aim = "Minimize" if metric in _MINIMISED else "Maximize"
    return {"Type": aim, "MetricName": f"validation_{metric}"}
