"""Record batches spooled to local disk: read as often as needed, in bounded memory."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Spool", "spooled"]


@dataclass(frozen=True, slots=True)
class Spool:
    """A closed Arrow IPC file."""

    path: Path
    schema: pa.Schema
    rows: int

    @classmethod
    def fill(cls, path: Path, reader: pa.RecordBatchReader) -> Spool:
        """Drain ``reader`` into ``path``; an error of the reader passes through as it is."""
        rows = 0
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_stream(sink, reader.schema, options=options) as out,
        ):
            for batch in reader:
                out.write_batch(batch)
                rows += batch.num_rows
        return cls(path, reader.schema, rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches, from the start."""
        with pa.OSFile(str(self.path), "rb") as source, pa.ipc.open_stream(source) as stream:
            yield from stream


@contextmanager
def spooled(reader: pa.RecordBatchReader, folder: Path | None = None) -> Iterator[Spool]:
    """The reader's batches on disk for the length of the block, in ``folder`` or the system's own place."""
    with tempfile.TemporaryDirectory(prefix="nightshift-spool-", dir=folder) as scratch:
        yield Spool.fill(Path(scratch) / "batches.arrow", reader)
