"""The package ``jobs`` on its way to SageMaker: uploaded once for each of its versions."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nightshift.platforms.code import code_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.platforms.sagemaker.store import JobsStore

__all__ = ["ENTRY", "SOURCES", "identity_of", "source_files", "tarball", "upload_code"]

ENTRY = "sagemaker_entry.py"
SOURCES = "sourcedir.tar.gz"
_REQUIREMENTS = "containers/requirements.txt"
_ENTRY_TEXT = "import sys; from jobs.sagemaker import main\nsys.exit(main())\n"


def source_files(jobs_dir: Path, below: str = "") -> dict[str, bytes]:
    """The package's source files, by name."""
    paths = sorted((jobs_dir / "jobs").rglob("*.py"))
    return {f"{below}{path.relative_to(jobs_dir).as_posix()}": path.read_bytes() for path in paths}


def upload_code(store: JobsStore, jobs_dir: Path, *, requirements: bool = False) -> str:
    """Upload the package, the entry point for script mode and both as one tarball; the folder's name.

    Whoever finds the tarball finds the rest: it is written last.

    :param requirements: a framework's image is to install what the jobs need, before they start.
    """
    files = {ENTRY: _ENTRY_TEXT.encode(), **source_files(jobs_dir)}
    folder = f".code/{code_sha256(jobs_dir)}"
    if requirements and (jobs_dir / _REQUIREMENTS).exists():
        files["requirements.txt"] = (jobs_dir / _REQUIREMENTS).read_bytes()
        folder += "-" + hashlib.sha256(files["requirements.txt"]).hexdigest()[:8]
    if store.exists(f"{folder}/{SOURCES}"):
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        paths = {}
        for number, (name, data) in enumerate(files.items()):
            paths[name] = Path(scratch, str(number))
            paths[name].write_bytes(data)
        store.upload(folder, paths)
    store.write(f"{folder}/{SOURCES}", tarball(files))
    return folder


def tarball(files: Mapping[str, bytes | Path]) -> bytes:
    """A tar.gz that is the same for the same files: no times, no owners, names in order."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(files):
            content = files[name]
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def identity_of(*parts: str) -> str:
    """sha256 of several texts, none of which can pass for two."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
