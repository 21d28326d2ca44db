"""The PyTorch network for mixed columns, and the encoder that turns a frame into its tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pandas as pd

__all__ = ["Encoder", "Network"]

_CLAMP = 6.0
"""Standard deviations beyond which a number is no news."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Which columns are text, with their known values, and which are numbers. JSON-safe."""

    text: dict[str, list[str]]
    numbers: list[str]

    @classmethod
    def of(cls, frame: pd.DataFrame, features: Sequence[str]) -> Encoder:
        """Learn the values of the text columns."""
        numbers = [name for name in features if frame[name].dtype.kind in "biuf"]
        text = [name for name in features if name not in numbers]
        return cls({name: sorted(frame[name].dropna().unique()) for name in text}, numbers)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Encoder:
        """Read what :meth:`to_dict` gave."""
        return cls(dict(document["text"]), list(document["numbers"]))

    def to_dict(self) -> dict[str, Any]:
        """For ``encoder.json``."""
        return asdict(self)

    @property
    def features(self) -> list[str]:
        """All columns that are read."""
        return [*self.text, *self.numbers]

    def codes(self, frame: pd.DataFrame) -> np.ndarray:
        """Shape (rows, text columns), int64; 0 is a value never seen, or none."""
        import numpy as np
        import pandas as pd

        codes = [pd.Categorical(frame[name], categories=known).codes for name, known in self.text.items()]
        if not codes:
            return np.zeros((len(frame), 0), dtype=np.int64)
        return np.stack(codes, axis=1).astype(np.int64) + 1

    def values(self, frame: pd.DataFrame) -> np.ndarray:
        """Shape (rows, numbers), float32, NaN where there is none."""
        values: np.ndarray = frame[self.numbers].to_numpy(dtype="float32")
        return values


class Network(nn.Module):
    """Embeddings of the text columns beside normalised numbers, then a plain perceptron.

    The normalisation is inside, so that what is saved needs nothing around it. A missing number counts
    as the mean, and a column that can be missing says so in an input of its own. A constant column is
    shut out: it would carry an untrained weight into the first row where it changes.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    gaps: torch.Tensor

    def __init__(self, sizes: Sequence[int], numbers: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))
        self.register_buffer("gaps", torch.zeros(numbers))
        self.embeddings = nn.ModuleList(
            nn.Embedding(size + 1, min(16, (size + 3) // 2), padding_idx=0) for size in sizes
        )
        inputs = sum(min(16, (size + 3) // 2) for size in sizes) + 2 * numbers
        blocks: list[nn.Module] = []
        for _ in range(layers):
            blocks += [nn.Linear(inputs, width), nn.SiLU(), nn.Dropout(dropout)]
            inputs = width
        self.layers = nn.Sequential(*blocks, nn.Linear(inputs, 1))

    def normalise_by(self, values: torch.Tensor) -> None:
        """Learn mean, spread and gaps of the numbers, shape (rows, numbers)."""
        missing = values.isnan()
        known = (~missing).sum(0).clamp(min=1)
        filled = values.nan_to_num(0.0).double()
        mean = filled.sum(0) / known
        spread = ((filled - mean).masked_fill(missing, 0.0).square().sum(0) / known).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(spread > 1e-6, 1.0 / spread.clamp(min=1e-6), 0.0))
        self.gaps.copy_(missing.any(0))

    def forward(self, codes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Logits, shape (rows,), of codes (rows, text columns) and values (rows, numbers)."""
        missing = values.isnan()
        numbers = ((values - self.mean) * self.scale).masked_fill(missing, 0.0).clamp(-_CLAMP, _CLAMP)
        parts = [embed(codes[:, place]) for place, embed in enumerate(self.embeddings)]
        inputs = torch.cat([*parts, numbers, missing * self.gaps], dim=1)
        logits: torch.Tensor = self.layers(inputs).squeeze(1)
        return logits
