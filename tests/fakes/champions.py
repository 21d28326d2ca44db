"""Small fitted models, and folders of a job's input that may be written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.contract import JobSpec
from jobs.features import build
from jobs.models import module
from tests.fakes.job_inputs import PARTITIONS, JobInputs, job_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["QUICK", "link_inputs", "save_champion"]

QUICK = {"hist_gradient_boosting": {"max_iter": 10}, "torch_mlp": {"max_epochs": 1}}


def link_inputs(inputs: JobInputs, folder: Path) -> None:
    """The shared input channels, in a folder that may be written to."""
    folder.mkdir(parents=True)
    for channel in ("clean", "weather", "planes"):
        (folder / channel).symlink_to(inputs.folder / channel)


def save_champion(model: str, inputs: JobInputs, folder: Path) -> None:
    """Fit a small model on four days and put it where a score job looks for it."""
    spec = JobSpec.from_dict(job_json("score"))
    frame = build(spec, inputs.folder, PARTITIONS[8:12])
    days = frame["partition"] < PARTITIONS[11]
    fitted = module(model).fit(frame[days], frame[~days], target="late", hyperparameters=QUICK[model], seed=1)
    (folder / "models").mkdir()
    fitted.save(folder / "models" / "champion", frame.head(5))
