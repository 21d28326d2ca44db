"""A stand-in for ``include/jobs`` whose jobs start in milliseconds and do what the test's document says.

Only ``jobs.sagemaker``, which knows nothing of what it starts, is the real one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["make_toy_jobs", "starts"]

_JOBS = Path(__file__).parents[2] / "include" / "jobs"
_MAIN = """
import json, os, pathlib, signal, subprocess, sys, time
a = dict(zip(sys.argv[2::2], sys.argv[3::2]))
job = json.loads(pathlib.Path(a["--spec"]).read_text())
out = pathlib.Path(a["--output"])
with open(job["counter"], "a") as f:
    f.write(f"{os.getpid()}\\n")
print("started", sys.argv[1], flush=True)
if job.get("ignore_term"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if job.get("child"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (out / "child.pid").write_text(str(child.pid))
if job.get("echo_inputs"):
    root = pathlib.Path(a["--input"])
    seen = {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}
    (out / "inputs.json").write_text(json.dumps(seen))
(out / "environment.json").write_text(json.dumps(dict(os.environ)))
end = time.monotonic() + job.get("seconds", 0)
while time.monotonic() < end and not pathlib.Path(job.get("until", "/nowhere")).exists():
    time.sleep(0.02)
if job.get("error"):
    (out / "error.json").write_text(json.dumps({"type": "ValueError", "message": job["error"]}))
    print(job["error"])
    sys.exit(job.get("code", 1))
print("done", flush=True)
(out / "metrics.json").write_text(json.dumps({"answer": 42}))
"""


def make_toy_jobs(folder: Path) -> Path:
    """Write the package and return the folder that holds it."""
    package = folder / "jobs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(_MAIN)
    shutil.copy(_JOBS / "sagemaker.py", package)
    return folder


def starts(counter: Path) -> list[int]:
    """Process ids of every job that really started."""
    return [int(line) for line in counter.read_text().split()] if counter.exists() else []
