"""The server around a saved model: a real process for what it answers, the application for how it refuses."""

from __future__ import annotations

import io
import json
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from jobs import features
from jobs.__main__ import main
from jobs.contract import JobSpec
from jobs.rows import CSV, JSON, JSON_LINES, PARQUET
from jobs.serve import Served, application
from tests.contract.platform_contract import wait_for
from tests.fakes.champions import link_inputs, save_champion
from tests.fakes.job_inputs import PARTITIONS, JobInputs, job_json, write_job
from tests.fakes.opt_ml import BIN, OptMl
from tests.fakes.process import listens

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAY = PARTITIONS[-1]
TOLERANCE = {"hist_gradient_boosting": 1e-9, "torch_mlp": 1e-6}
"""The network computes in float32: the size of a batch decides the last digits."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, and what the score job says of the rows that the features job wrote."""

    port: int
    body: bytes
    expected: dict[int, float]
    tolerance: float

    def post(self, body: bytes, kind: str = JSON_LINES, accept: str = JSON_LINES) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}/invocations"
        headers = {"Content-Type": kind, "Accept": accept}
        return httpx.post(url, content=body, headers=headers, timeout=60)

    def check(self, ids: list[int], predictions: list[float]) -> None:
        assert ids == list(self.expected)
        np.testing.assert_allclose(predictions, list(self.expected.values()), rtol=0, atol=self.tolerance)


def job(folder: Path, kind: str) -> None:
    spec = write_job(folder, job_json(kind, splits={"holdout": [DAY]}))
    places = {"spec": spec, "input": folder / "input", "output": folder / kind, "checkpoints": folder / "c"}
    assert main([kind, *[word for name, path in places.items() for word in (f"--{name}", str(path))]]) == 0


@contextmanager
def served(folder: Path, champion: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The image's ``serve`` on a port that the system chose."""
    container = OptMl.make(folder, {}, hyperparameters={})
    (container.base / "model" / "model").symlink_to(champion)
    write_job(container.base / "model", job_json("score"))
    with container.start(BIN / "serve", SAGEMAKER_BIND_TO_PORT="0", **environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("serves flight_delays 2013-01-20 on 127.0.0.1:"), line
            yield process, int(line.rsplit(":", 1)[1])
        finally:
            process.terminate()


@pytest.fixture(scope="module", params=list(TOLERANCE))
def server(
    request: pytest.FixtureRequest, job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(f"serve-{request.param}")
    link_inputs(job_inputs, folder / "input")
    save_champion(request.param, job_inputs, folder / "input")
    for kind in ("features", "score"):
        job(folder, kind)
    parts = sorted((folder / "features" / "features" / DAY).iterdir())
    tables = [pq.read_table(path) for path in sorted((folder / "score" / "predictions" / DAY).iterdir())]
    scored = pa.concat_tables(tables).to_pydict()
    expected = dict(zip(scored["row_id"], scored["prediction"], strict=True))
    with served(folder / "ml", folder / "input" / "models" / "champion") as (_, port):
        body = b"".join(part.read_bytes() for part in parts)
        yield Server(port, body, expected, TOLERANCE[request.param])


def rows_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def test_the_features_job_and_the_server_give_what_the_score_job_gives(server: Server) -> None:
    answer = server.post(server.body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == JSON_LINES
    rows = rows_of(answer.content)
    server.check([row["row_id"] for row in rows], [row["prediction"] for row in rows])


@pytest.mark.parametrize("kind", [JSON, CSV, PARQUET])
def test_every_format_gives_the_same_rows_in_the_same_order(server: Server, kind: str) -> None:
    table = pa.Table.from_pylist(rows_of(server.body))
    answer = server.post(written(table, kind), kind, kind)
    assert answer.status_code == 200, answer.text
    found = read(answer.content, kind)
    server.check(found["row_id"].to_pylist(), found["prediction"].to_pylist())


def written(table: pa.Table, kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == JSON:
        sink.write(json.dumps(table.to_pylist()).encode())
    elif kind == CSV:
        table.to_pandas().to_csv(sink, index=False)
    else:
        pq.write_table(table, sink)
    return sink.getvalue()


def read(body: bytes, kind: str) -> pa.Table:
    if kind == JSON:
        return pa.Table.from_pylist(json.loads(body))
    if kind == CSV:
        return pa.Table.from_pandas(pd.read_csv(io.BytesIO(body)))
    return pq.read_table(io.BytesIO(body))


def test_ping_and_what_a_transform_should_send(server: Server) -> None:
    assert httpx.get(f"http://127.0.0.1:{server.port}/ping").status_code == 200
    told = httpx.get(f"http://127.0.0.1:{server.port}/execution-parameters").json()
    assert told["BatchStrategy"] == "MULTI_RECORD"
    assert told["MaxConcurrentTransforms"] >= 1
    assert told["MaxPayloadInMB"] == 6


@pytest.fixture
def champion(job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("champion")
    save_champion("hist_gradient_boosting", job_inputs, folder)
    return folder / "models" / "champion"


def test_sigterm_lets_a_request_under_way_end(champion: Path, job_inputs: JobInputs, tmp_path: Path) -> None:
    spec = JobSpec.from_dict(job_json("score"))
    frame = features.build(spec, job_inputs.folder, [DAY]).head(3).drop(columns=["partition", "late"])
    body = frame.to_json(orient="records", lines=True).encode()
    with served(tmp_path / "ml", champion) as (process, port), connected(port) as asking:
        head = ["POST /invocations HTTP/1.1", "Host: x", "Connection: close", "Expect: 100-continue"]
        head += [f"Content-Type: {JSON_LINES}", f"Content-Length: {len(body)}", "", ""]
        asking.sendall("\r\n".join(head).encode())
        assert asking.recv(65536).startswith(b"HTTP/1.1 100")
        process.terminate()
        wait_for(lambda: not listens(port))
        asking.sendall(body)
        answer = b"".join(iter(lambda: asking.recv(65536), b""))
        assert process.wait(20) == 0
    assert answer.startswith(b"HTTP/1.1 200")
    assert [row["row_id"] for row in rows_of(answer.split(b"\r\n\r\n", 1)[1])] == [0, 1, 2]


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def test_a_container_without_a_model_says_so_and_ends(tmp_path: Path) -> None:
    container = OptMl.make(tmp_path, {})
    code, log = container.train(BIN / "serve", SAGEMAKER_BIND_TO_PORT="0")
    assert code == 2
    assert log.startswith("bad input: ")
    assert "is no MLflow model folder" in log


# -- refusals ---------------------------------------------------------------------------------------


class Stub:
    """A model that reads ``a`` and ``b``."""

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        if (frame["a"] == 13.0).any():
            raise ZeroDivisionError("thirteen")
        return np.full(len(frame), 0.5)


COLUMNS = {"a": "double", "b": "string", "n": "long"}
ROW = {"row_id": 1, "a": 1.0, "b": "x", "n": 2}


@pytest.fixture
def ask() -> Iterator[Callable[..., httpx.Response]]:
    """Post a body to the application around the stub; batches of two rows, bodies of one MiB at most."""
    client = TestClient(application(Served(Stub(), COLUMNS, "stub", batch_rows=2), body_mib=1))

    def post(body: Any, kind: str = JSON_LINES, accept: str = "") -> httpx.Response:
        if isinstance(body, list):
            body = "\n".join(json.dumps(row) for row in body)
        headers = {"Content-Type": kind, "Accept": accept}
        answer: httpx.Response = client.post("/invocations", content=body, headers=headers)
        return answer

    with client:
        yield post


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        pytest.param(
            [ROW, ROW, ROW | {"a": "1"}],
            "line 3, column 'a': \"1\" is not a finite number or null",
            id="text for a number",
        ),
        pytest.param(
            [ROW | {"a": True}], "line 1, column 'a': true is not a finite", id="truth for a number"
        ),
        pytest.param([ROW | {"a": 1e999}], "line 1, column 'a': Infinity is not a finite", id="infinite"),
        pytest.param(
            [ROW, ROW | {"b": 3}], "line 2, column 'b': 3 is not a text or null", id="number for text"
        ),
        pytest.param([ROW | {"n": None}], "line 1, column 'n': null is not a whole number", id="gap"),
        pytest.param([ROW | {"n": 2.5}], "line 1, column 'n': 2.5 is not a whole number", id="fraction"),
        pytest.param(
            [without("b") | {"B": 1}], "line 1: column 'b' is missing; send it, null or empty", id="missing"
        ),
        pytest.param(
            [ROW, without("row_id")], "line 2: give a row_id to every row, or to none", id="id missing"
        ),
        pytest.param([ROW | {"row_id": 1.5}], "line 1, column 'row_id': 1.5 is not a whole", id="odd id"),
        pytest.param([ROW, [1, 2]], "line 2 is [1, 2]; send an object", id="list"),
    ],
)
def test_a_wrong_row_is_refused_with_its_place(
    ask: Callable[..., httpx.Response], rows: list[Any], reason: str
) -> None:
    answer = ask(rows)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(reason)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        pytest.param('{"a": 1', JSON_LINES, "line 1 is no JSON", id="cut JSON line"),
        pytest.param("[" * 100_000, JSON_LINES, "line 1 is no JSON", id="deep JSON"),
        pytest.param('{"a": 1}', JSON, "the body is {", id="no list"),
        pytest.param(
            "a,b,n\n1,x,1\n1,x,y\n", CSV, "line 3, column 'n': \"y\" is not a whole", id="CSV value"
        ),
        pytest.param("a,b,n\n1,x\n", CSV, "line 2 has 2 values for 3 columns", id="short CSV line"),
        pytest.param("1,x,1\n", CSV, "line 1 names no column of the model: send the header", id="no header"),
        pytest.param("a,b,m\n1,x,1\n", CSV, "line 2: column 'n' is missing", id="CSV column"),
        pytest.param('a,b,n\n1,"x,1\n', CSV, "line 2 is no CSV", id="open quote"),
        pytest.param(b"a,b,n\n1,\xff,1\n", CSV, "the body is no UTF-8", id="no text"),
        pytest.param(b"PAR1", PARQUET, "the body is no Parquet file", id="no Parquet"),
    ],
)
def test_a_wrong_body_is_refused_with_its_place(
    ask: Callable[..., httpx.Response], body: Any, kind: str, reason: str
) -> None:
    answer = ask(body, kind)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(reason)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        pytest.param({"a": ["1"], "b": ["x"], "n": [1]}, "the file's column 'a' of string", id="type"),
        pytest.param({"a": [1.0], "b": ["x"], "n": [None]}, "the file's column 'n' of null", id="gap"),
        pytest.param({"a": [1.0], "b": ["x"]}, "the file's column 'n' is missing", id="missing"),
    ],
)
def test_a_wrong_parquet_column_is_named(
    ask: Callable[..., httpx.Response], columns: dict[str, list[Any]], reason: str
) -> None:
    answer = ask(written(pa.table(columns), PARQUET), PARQUET)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(reason)


def test_a_model_that_fails_is_a_500_with_its_reason_and_the_server_goes_on(
    ask: Callable[..., httpx.Response], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ask([ROW | {"a": 13}])
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model failed: ZeroDivisionError: thirteen"}
    assert "Traceback" in capsys.readouterr().out
    assert ask([ROW]).status_code == 200


def test_a_body_over_the_limit_is_refused(ask: Callable[..., httpx.Response]) -> None:
    answer = ask(b" " * (1 << 20) + b" ")
    assert answer.status_code == 413
    assert answer.json()["error"] == "the body is over 1 MiB; send the rows in several requests"


def test_an_unknown_content_type_is_refused(ask: Callable[..., httpx.Response]) -> None:
    assert ask("<row/>", "application/xml").status_code == 415
    assert ask([ROW], accept="image/png").status_code == 406


@pytest.mark.parametrize("body", ["", "\n\n"], ids=["nothing", "blank lines"])
def test_no_rows_give_no_rows(ask: Callable[..., httpx.Response], body: str) -> None:
    answer = ask(body)
    assert (answer.status_code, answer.content) == (200, b"")


def test_rows_without_ids_are_answered_in_order(ask: Callable[..., httpx.Response]) -> None:
    rows = [without("row_id")] * 5
    assert rows_of(ask(rows).content) == [{"prediction": 0.5}] * 5


def test_csv_has_its_header_unless_it_is_not_wanted(ask: Callable[..., httpx.Response]) -> None:
    assert ask([ROW], accept="text/csv").text == "row_id,prediction\n1,0.5\n"
    assert ask([ROW], accept="text/csv; header=absent").text == "1,0.5\n"
    assert ask([ROW | {"row_id": "a,b"}], accept="text/csv; header=absent").text == '"a,b",0.5\n'


def test_a_csv_value_that_is_empty_is_no_value(ask: Callable[..., httpx.Response]) -> None:
    assert ask("row_id,a,b,n\n7,,,1\n", CSV, JSON_LINES).json() == {"row_id": 7, "prediction": 0.5}
