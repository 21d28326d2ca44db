"""``python -m benchmarks [NAME ...]``: measures, prints a table and writes ``benchmarks/results.json``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["main"]

RESULTS = Path(__file__).with_name("results.json")
TARGETS = {
    "night_over_plain": "at most 1.5",
    "ingest_over_obstore": "at least 0.8",
    "validate_over_scan_1d": "as near 1 as can be",
    "validate_over_scan_30d": "as near 1 as can be",
    "validate_over_scan_365d": "as near 1 as can be",
    "gx_pandas_over_validate_30d": "above 1",
    "score_over_raw": "at least 0.9",
    "parse_100_s": "under 2",
    "backfill_stock_over_ours": "at least 5",
    "backfill_ours_over_plain": "at most 2",
    "job_overhead_deferred_s": "at most 3",
    "gate_loop_over_ours": "above 1",
}
NAMES = ("parse", "ingest", "validate", "score", "night", "backfill", "job", "gate")


def main() -> None:
    """Run the named benchmarks, all by default; results of the others are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    ratios, details = results.get("ratios", {}), results.get("details", {})
    for name in names:
        begun = time.monotonic()
        print(f"{name} ...", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"nightshift-bench-{name}-") as scratch:
            found = importlib.import_module(f"benchmarks.{name}").measure(Path(scratch))
        ratios.update(found["ratios"])
        details[name] = found["details"]
        _write(ratios, details)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    print(_table(ratios))


def _write(ratios: dict[str, float], details: dict[str, Any]) -> None:
    details["machine"] = {"cpus": os.cpu_count(), "python": platform.python_version()}
    ordered = {name: ratios[name] for name in TARGETS if name in ratios}
    RESULTS.write_text(json.dumps({"ratios": ordered, "details": details}, indent=1) + "\n")


def _table(ratios: dict[str, float]) -> str:
    measured = ((name, f"{ratios[name]:g}", TARGETS[name]) for name in TARGETS if name in ratios)
    rows = [("ratio", "measured", "target"), *measured]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


if __name__ == "__main__":
    main()
