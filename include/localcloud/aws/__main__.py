"""``python -m localcloud.aws --home DIR``: a loopback AWS in the foreground, until it is interrupted."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from urllib.parse import urlsplit

from localcloud.aws.home import Settings
from localcloud.waiting import free_port, is_free

__all__ = ["main"]


def main(words: list[str] | None = None) -> None:
    """Parse the command line and serve."""
    options = _parser().parse_args(words)
    home: Path = options.home.resolve()
    from localcloud.aws.server import serve

    serve(
        Settings(
            home,
            options.port or _port_of(home, "endpoint"),
            options.s3_port or _port_of(home, "s3_endpoint"),
            options.parallel,
            options.grace,
            options.interruption,
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localcloud.aws",
        description="An AWS on 127.0.0.1: S3, IAM, Glue, CloudWatch, and SageMaker jobs that really run.",
        epilog="When everything answers, HOME/aws.json says where and with which credentials.",
    )
    parser.add_argument(
        "--home", type=Path, required=True, help="folder for its data; S3 and jobs survive in it"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="of everything but S3 (default: the last one, or a free one)"
    )
    parser.add_argument("--s3-port", type=int, default=0, help="of S3 (default: the last one, or a free one)")
    parser.add_argument(
        "--parallel", type=int, default=4, help="jobs that run at once (default: %(default)s)"
    )
    parser.add_argument(
        "--grace", type=float, default=5.0, help="seconds between SIGTERM and SIGKILL (default: %(default)s)"
    )
    parser.add_argument(
        "--interruption",
        type=float,
        default=0.3,
        help="seconds an interrupted spot job waits (default: %(default)s)",
    )
    return parser


def _port_of(home: Path, which: str) -> int:
    """The port this home had before, so that connections stay true; else a free one."""
    try:
        last = urlsplit(json.loads((home / "ports.json").read_text())[which]).port or 0
    except (OSError, ValueError, KeyError):
        last = 0
    return last if last and is_free(last) else free_port()


if __name__ == "__main__":
    main()
