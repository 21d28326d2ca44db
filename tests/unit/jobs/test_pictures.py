"""Pictures where there is little to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from jobs.pictures import draw_all

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("labels", "importances"),
    [(np.zeros(5), {}), (np.array([0, 1.0, 1, 0, 1]), {"hour": 0.1, "minute": -0.2})],
    ids=["one-class", "five-rows"],
)
def test_pictures_are_drawn_of_any_rows(
    labels: np.ndarray, importances: dict[str, float], tmp_path: Path
) -> None:
    draw_all(tmp_path, "five rows", labels, np.linspace(0, 1, 5), importances, "late")
    assert len(list(tmp_path.glob("*.png"))) == 5
    assert len(list(tmp_path.iterdir())) == 5
