"""A container without Docker: a base folder that stands for ``/opt/ml``, and an environment of its own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import JobError
from localcloud.aws.home import ACCESS_KEY, REGION, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from localcloud.aws.home import Settings

__all__ = ["Container", "image_of"]

_OPT_ML = re.compile(r"(?<![\w./-])/opt/ml(?=$|[/:,;\s\"'])")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FOLDERS = ("input/config", "input/data", "model", "output/data", "checkpoints", "code", "home", "tmp")


class Container:
    """The inside of one container of one job."""

    def __init__(self, base: Path, settings: Settings) -> None:
        self.base = base
        self._settings = settings
        for folder in _FOLDERS:
            (base / folder).mkdir(parents=True, exist_ok=True)

    def here(self, text: str) -> str:
        """A text with ``/opt/ml`` replaced by this container's base folder."""
        return _OPT_ML.sub(str(self.base), text)

    def path(self, inside: str) -> Path:
        """A file or folder inside.

        :raises JobError: for one that is not below ``/opt/ml``: there is no other place to write here.
        """
        if not _OPT_ML.match(inside):
            raise JobError(f"ClientError: the loopback AWS has no {inside}: use a path below /opt/ml")
        return Path(self.here(inside))

    def config(self, name: str, document: Any) -> None:
        """Write ``/opt/ml/input/config/<name>.json``."""
        (self.base / "input" / "config" / f"{name}.json").write_text(json.dumps(document))

    def environment(self, image: Mapping[str, Any], *asked: Mapping[str, str]) -> dict[str, str]:
        """What the processes inside see: nothing of the server's own environment.

        The endpoints stand in for the names that an SDK finds by itself on AWS.
        """
        own = {
            "PATH": f"{Path(sys.executable).parent}:{_PATH}",
            "LANG": "C.UTF-8",
            "HOME": str(self.base / "home"),
            "TMPDIR": str(self.base / "tmp"),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self._settings.endpoint,
            "AWS_ENDPOINT_URL_S3": self._settings.s3_endpoint,
            "SAGEMAKER_BASE_DIR": str(self.base),
        }
        for more in (image.get("environment") or {}, *asked):
            own |= {key: self.here(value) for key, value in more.items()}
        return own

    def command(self, words: Sequence[str]) -> list[str]:
        """A command line with its paths inside this container."""
        return [self.here(word) for word in words]

    def failure(self) -> str:
        """What the job says about its failure in ``/opt/ml/output/failure``."""
        told = self.base / "output" / "failure"
        return told.read_text(errors="replace").strip()[:900] if told.is_file() else ""

    def discard(self) -> None:
        """Remove it."""
        shutil.rmtree(self.base, ignore_errors=True)


def image_of(settings: Settings, name: str) -> dict[str, Any]:
    """What stands for an image here: its commands and its environment.

    :raises JobError: when ``images.json`` does not have it.
    """
    known: dict[str, dict[str, Any]] = json.loads(settings.images.read_text())
    if name not in known:
        raise JobError(
            f"ClientError: Cannot find the image {name}: add it to {settings.images} "
            '({"<image>": {"train": [...], "serve": [...]}})'
        )
    return known[name]
