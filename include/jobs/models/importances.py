"""What a feature is worth: how much average precision is lost when its column is shuffled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.metrics import compute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import pandas as pd

__all__ = ["permutation_importances"]

_ROWS = 1000


def permutation_importances(
    predict_proba: Callable[[pd.DataFrame], np.ndarray],
    frame: pd.DataFrame,
    labels: np.ndarray,
    features: Sequence[str],
) -> dict[str, float]:
    """Return feature -> loss, largest first; empty where the rows have one class only.

    Cheap: one shuffle of at most 1000 rows, all features in one prediction.
    """
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(frame), size=min(_ROWS, len(frame)), replace=False))
    rows, truth = frame.iloc[chosen][list(features)], np.asarray(labels)[chosen]
    order = rng.permutation(len(rows))
    shuffled = [rows.assign(**{name: rows[name].to_numpy()[order]}) for name in features]
    scores = predict_proba(pd.concat([rows, *shuffled], ignore_index=True)).reshape(len(features) + 1, -1)
    values = [compute(truth, row, ("average_precision",))["average_precision"] for row in scores]
    if values[0] != values[0]:
        return {}
    losses = {name: values[0] - value for name, value in zip(features, values[1:], strict=True)}
    return dict(sorted(losses.items(), key=lambda item: (-item[1], item[0])))
