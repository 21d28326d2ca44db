"""A program: replaces a partition on a small disk with less and less room left, and prints what came of it.

Run as ``python -m tests.unit.lake.disk_full FOLDER``; the folder is a file system of its own.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from nightshift.errors import NightshiftError
from nightshift.lake.storage import Location, list_objects
from nightshift.lake.tables import Lake, LakeTable

DAY = "2013-01-05"
KIB = 1024


def rows(count: int) -> pa.Table:
    """Rows that do not compress: 1,000 of them need about 40 KiB."""
    draw = random.Random(count)
    return pa.table({"value": range(count), "noise": [draw.randbytes(32).hex() for _ in range(count)]})


def leave(folder: Path, room: int) -> Path:
    """Fill the file system up to ``room`` bytes."""
    filler = folder / "filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    filler.write_bytes(b"x" * (free - room))
    return filler


def attempt(folder: Path, table: LakeTable, room: int, scratch: Path) -> dict[str, Any]:
    """Replace the partition with so much room, and once more after room was made."""
    table.replace_partition(DAY, rows(10))
    before = [each.path for each in list_objects(table.location)]
    filler = leave(folder, room)
    told: dict[str, Any] = {"room": room // KIB, "error": None, "scratch": scratch == folder}
    try:
        table.replace_partition(DAY, rows(1000), scratch=scratch)
    except NightshiftError as error:
        told |= {"error": type(error).__name__, "retryable": error.retryable, "message": str(error)}
    except BaseException as error:  # noqa: BLE001 - the test says that there is none
        told |= {"error": f"stranger: {error!r}", "retryable": False, "message": ""}
    told["rows"] = table.read([DAY]).num_rows
    left = [each.path for each in list_objects(table.location)]
    told["left behind"] = sorted(set(left) - set(before)) if told["error"] else []
    filler.unlink()
    table.replace_partition(DAY, rows(1000), scratch=scratch)
    told["rows after room was made"] = table.read([DAY]).num_rows
    return told


def main(folder: Path) -> None:
    """Every amount of room, for the lake and then for the folder that rows are prepared in."""
    table = Lake(Location((folder / "lake").as_uri()), "pipe").table("raw")
    elsewhere = folder.with_name("scratch")
    elsewhere.mkdir()
    told = [attempt(folder, table, room * KIB, elsewhere) for room in range(0, 84, 4)]
    told += [attempt(folder, table, room * KIB, folder) for room in (0, 20)]
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
