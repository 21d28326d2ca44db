"""``python -m jobs KIND``: run one job and end with an exit code that says how."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING

from jobs.contract import (
    KINDS,
    BadInput,
    Terminated,
    ends_on_sigterm,
    locate,
    read_job,
    say,
    write_error,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["main"]

_MODULES = {"features": "feature_rows"}
"""Modules that are not named as the kind of job that they do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a job; also called in a process that was forked warm, so nothing global stays changed."""
    output: Path | None = None
    try:
        with ends_on_sigterm():
            kind, flags = _arguments(argv)
            places = locate(flags, os.environ)
            output = places["output"]
            with contextlib.suppress(OSError):
                (output / "error.json").unlink()
            _run(kind, places)
    except BadInput as error:
        return _failed(output, error, f"bad input: {error}", 2)
    except (Terminated, KeyboardInterrupt) as error:
        return _failed(output, error, f"stopped: {error or 'interrupted'}", 143)
    except Exception as error:  # noqa: BLE001 - the border of the job: the log must end with the reason
        if _was_terminated(error):
            return _failed(output, error, "stopped: SIGTERM: asked to stop", 143)
        traceback.print_exc(file=sys.stdout)
        return _failed(output, error, f"failed: {type(error).__name__}: {error}", 1)
    return 0


def _arguments(argv: Sequence[str] | None) -> tuple[str | None, dict[str, str | None]]:
    parser = argparse.ArgumentParser(prog="jobs", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=KINDS, help="default: what the specification says")
    for name in ("spec", "input", "output", "checkpoints"):
        parser.add_argument(f"--{name}", metavar="PATH", help=f"default: $NIGHTSHIFT_{name.upper()}")
    try:
        flags = vars(parser.parse_args(argv))
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise BadInput("the command line is wrong (see above)") from error
    return flags.pop("kind"), flags


def _run(kind: str | None, places: dict[str, Path]) -> None:
    job = read_job(kind, places)
    say(f"{job.spec.kind} {job.spec.pipeline} {job.spec.partition} with {job.spec.model}")
    try:
        import_module(f"jobs.{_MODULES.get(job.spec.kind, job.spec.kind)}").run(job)
    finally:
        if job.spec.tmp is not None:
            shutil.rmtree(job.spec.tmp, ignore_errors=True)


def _was_terminated(error: BaseException | None) -> bool:
    """Whether a library wrapped our signal into an error of its own, as DuckDB does."""
    while error is not None:
        if isinstance(error, Terminated):
            return True
        error = error.__cause__ or error.__context__
    return False


def _failed(output: Path | None, error: BaseException, line: str, code: int) -> int:
    write_error(output, error)
    say(" ".join(line.split()))
    return code


if __name__ == "__main__":
    sys.exit(main())
