"""The rows of a holdout with what both models said of them: what the evaluation job leaves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nightshift.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Predictions"]

_SLICE = "slice_"


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One row per holdout row, all arrays of shape ``(rows,)``.

    ``labels`` are 0 or 1, ``challenger`` and ``champion`` probabilities; ``champion`` is None where there is
    none yet. ``slices`` holds the columns that group the rows, by name.
    """

    partition: NDArray[np.str_]
    labels: NDArray[np.float64]
    challenger: NDArray[np.float64]
    champion: NDArray[np.float64] | None
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, slices: Sequence[str] = ()) -> Predictions:
        """The predictions that an evaluation job wrote to ``file``.

        :param slices: columns that must be there, as ``slice_<column>``.
        :raises LakeError: when the file is not one of those, or lacks a column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise LakeError(f"{file} holds no predictions: {error}") from error
        wanted = ["partition", "label", "challenger", "champion", *(f"{_SLICE}{name}" for name in slices)]
        if missing := [name for name in wanted if name not in table.column_names]:
            raise LakeError(
                f"{file} has no column {', '.join(missing)}",
                fix="clear 'evaluate' of the run, so that it is made anew by today's code and pipeline file",
            )
        champion = table["champion"]
        return cls(
            partition=_words(table["partition"]),
            labels=_numbers(table["label"]),
            challenger=_numbers(table["challenger"]),
            champion=None if champion.null_count else _numbers(champion),
            slices={name: _words(table[f"{_SLICE}{name}"]) for name in slices},
        )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> Predictions:
        """Those rows, in that order; a row may come more than once."""
        return replace(
            self,
            partition=self.partition[rows],
            labels=self.labels[rows],
            challenger=self.challenger[rows],
            champion=None if self.champion is None else self.champion[rows],
            slices={name: values[rows] for name, values in self.slices.items()},
        )


def _numbers(column: Any) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _words(column: Any) -> NDArray[np.str_]:
    return np.asarray(column.fill_null("(none)").to_numpy(zero_copy_only=False), dtype=np.str_)
