"""A PyTorch network for tables: embeddings and a perceptron, on a GPU where there is one.

Saved as an MLflow model *from code*: the weights as a NumPy archive of plain arrays, the encoder as
JSON, and a short script that puts them together. That was chosen over MLflow's pytorch flavour, whose
pt2 program takes tensors only (the encoding of text columns would live outside the model) and needs an
export of several seconds, and whose other format is pickle. Nothing in the folder is unpickled; we load
it without MLflow, MLflow's pyfunc loads it by the same function, and both give the same numbers.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from jobs import contract
from jobs.contract import BadInput, say
from jobs.metrics import compute
from jobs.models import Pruned, feature_columns
from jobs.models import checkpoints as saved
from jobs.models.distribution import Place, join
from jobs.models.importances import permutation_importances
from jobs.models.mlflow_folder import nullable, pinned, quiet_mlflow
from jobs.models.torch_network import Encoder, Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from jobs.models import Report

__all__ = ["DEFAULTS", "TorchMlp", "fit", "load", "load_files"]

DEFAULTS: Mapping[str, Any] = {
    "width": 64,
    "layers": 2,
    "dropout": 0.4,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "batch_size": 512,
    "max_epochs": 30,
    "patience": 4,
    "bf16": True,  # on a GPU only
    "compile": "auto",  # True, False, or "auto": on a GPU when there is enough work to earn it back
    "checkpoint_every_s": 10.0,
}
_COMPILE_FROM_SAMPLES = 50_000_000
_PREDICT_ROWS = 65_536
_ONE_THREAD_BELOW = 1_000_000
"""Values in a batch of one layer."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Labelled rows as tensors on the device; a table of millions of rows fits there whole."""

    codes: torch.Tensor
    values: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, frame: pd.DataFrame, encoder: Encoder, target: str, device: torch.device) -> _Rows:
        rows = frame[frame[target].notna()]
        labels = rows[target].to_numpy(dtype="float32")
        arrays = (encoder.codes(rows), encoder.values(rows), labels)
        return cls(*(torch.tensor(array, device=device) for array in arrays))

    def __len__(self) -> int:
        return len(self.labels)


def fit(
    train: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    target: str,
    hyperparameters: Mapping[str, Any],
    seed: int,
    checkpoints: Path | None = None,
    report: Report | None = None,
    metric: str = "average_precision",
) -> TorchMlp:
    """Fit on ``train``, keep the epoch with the least log loss on ``validation``, resume what was begun.

    Under ``torchrun`` every process calls this with the same rows; each takes its part of every batch.

    :raises Pruned: when ``report`` returned True.
    :raises BadInput: when ``train`` has one class only, or a hyperparameter is unknown.
    """
    unknown = set(hyperparameters) - set(DEFAULTS)
    if unknown:
        raise BadInput(f"torch_mlp has no hyperparameter {', '.join(sorted(unknown))}")
    if train[target].nunique() < 2:
        raise BadInput(f"{target!r} is the same in all {len(train)} training rows: nothing to learn")
    options = dict(DEFAULTS) | dict(hyperparameters)
    encoder = Encoder.of(train, feature_columns(train, target))
    with join() as place, _steady(seed, place, options):
        rows = [_Rows.of(frame, encoder, target, place.device) for frame in (train, validation)]
        trainer = _Trainer(encoder, rows[0], rows[1], options, seed, place)
        trainer.run(checkpoints, report, metric)
        return TorchMlp(trainer.network.eval(), encoder, options)


@contextlib.contextmanager
def _steady(seed: int, place: Place, options: Mapping[str, Any]) -> Iterator[None]:
    """Seeded, and with small batches on one thread: threads that wait for each other cost more."""
    threads = torch.get_num_threads()
    small = int(options["batch_size"]) * int(options["width"]) < _ONE_THREAD_BELOW
    with torch.random.fork_rng(devices=[place.device] if place.device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_num_threads(1 if small else threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _Trainer:
    """One fit: network, optimiser, and the best weights so far."""

    def __init__(
        self,
        encoder: Encoder,
        train: _Rows,
        held: _Rows,
        options: Mapping[str, Any],
        seed: int,
        place: Place,
    ) -> None:
        self.train, self.held, self.options, self.seed, self.place = train, held, options, seed, place
        self.network = _network(encoder, options)
        self.network.normalise_by(train.values.cpu())
        self.network.to(place.device)
        self.parallel = _parallel(self.network, place, len(train), options)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=float(options["learning_rate"]),
            weight_decay=float(options["weight_decay"]),
        )
        self.best, self.best_loss, self.best_epoch = self._weights(), float("inf"), 0

    def run(self, folder: Path | None, report: Report | None, metric: str) -> None:
        """All epochs, from the newest checkpoint on; the network ends with its best weights."""
        first = self._resume(folder)
        written, started, seen = time.monotonic(), time.perf_counter(), 0
        for epoch in range(first, int(self.options["max_epochs"]) + 1):
            if self._is_done(epoch - 1):
                break
            self._epoch(epoch)
            seen += len(self.train)
            self._validate(epoch, report, metric)
            if folder is not None and time.monotonic() - written >= float(self.options["checkpoint_every_s"]):
                self._checkpoint(folder, epoch)
                written = time.monotonic()
        self.network.load_state_dict(self.best)
        self._say_cost(seen, time.perf_counter() - started)

    def _is_done(self, epoch: int) -> bool:
        return bool(epoch - self.best_epoch >= int(self.options["patience"])) and self.best_epoch > 0

    def _epoch(self, epoch: int) -> None:
        """One pass in an order that seed and epoch decide, so that a resumed fit takes the same steps."""
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self.seed + epoch))
        order = order.to(self.place.device)
        size = int(self.options["batch_size"])
        self.parallel.train()
        for start in range(0, len(order), size):
            batch = order[start : start + size][self.place.rank :: self.place.world]
            if len(order[start : start + size]) < self.place.world:
                break  # too few rows for every process to have one
            self._step(batch)

    def _step(self, batch: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with self._precision():
            logits = self.parallel(self.train.codes[batch], self.train.values[batch])
        loss = binary_cross_entropy_with_logits(logits.float(), self.train.labels[batch])
        torch.autograd.backward(loss)
        self.optimizer.step()

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        gpu = self.place.device.type == "cuda"
        return torch.autocast(self.place.device.type, torch.bfloat16, enabled=gpu and self.options["bf16"])

    def _validate(self, epoch: int, report: Report | None, metric: str) -> None:
        """Keep the weights when the validation days say so; every process does as rank 0 does."""
        pruned, loss = 0.0, float("nan")
        if self.place.leads:
            labels = self.held.labels.cpu().numpy()
            scores = _probabilities(self.network, self.held.codes, self.held.values)
            values = compute(labels, scores, ("log_loss", metric))
            loss = values["log_loss"]
            contract.metric(f"validation_{metric}", values[metric], epoch)
            pruned = float(report is not None and report(epoch, values[metric]))
        if self.place.agree(pruned):
            raise Pruned(f"given up after {epoch} epochs")
        loss = self.place.agree(loss)
        if loss != loss:  # no validation rows: the last epoch counts
            self.best = self._weights()
        elif loss < self.best_loss:
            self.best, self.best_loss, self.best_epoch = self._weights(), loss, epoch

    def _weights(self) -> dict[str, torch.Tensor]:
        return copy.deepcopy(self.network.state_dict())

    def _checkpoint(self, folder: Path, epoch: int) -> None:
        if self.place.leads:
            state = {name: getattr(self, name) for name in ("best", "best_loss", "best_epoch")}
            state |= {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
            saved.write(folder, epoch, state | {"epoch": epoch, "fingerprint": self._fingerprint()})

    def _resume(self, folder: Path | None) -> int:
        """Take up the newest checkpoint; the epoch to go on with."""
        state = saved.newest(folder, self._fingerprint()) if folder is not None else None
        epoch = int(state["epoch"]) if state is not None else 0
        if self.place.agree(epoch) != epoch:
            raise BadInput("the processes see different checkpoints: their folder must be shared")
        if state is None:
            return 1
        if self.place.leads:
            say(f"resumed after epoch {epoch}")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("best", "best_loss", "best_epoch"):
            setattr(self, name, state[name])
        return epoch + 1

    def _fingerprint(self) -> str:
        """Data, parameters and seed: what a checkpoint may be continued with."""
        told = {k: v for k, v in self.options.items() if k not in ("checkpoint_every_s", "max_epochs")}
        digest = hashlib.sha256(json.dumps([told, self.seed], sort_keys=True).encode())
        for tensor in (self.train.codes, self.train.values, self.train.labels, self.held.labels):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _say_cost(self, seen: int, seconds: float) -> None:
        if not self.place.leads:
            return
        say(f"best epoch {self.best_epoch}: validation log loss {self.best_loss:.4f}")
        contract.metric("samples_per_s", seen / max(seconds, 1e-9))
        if self.place.device.type == "cuda":
            contract.metric("peak_gpu_memory_mib", torch.cuda.max_memory_allocated() / 2**20)
        contract.metric("peak_memory_mib", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def _network(encoder: Encoder, options: Mapping[str, Any]) -> Network:
    sizes = [len(values) for values in encoder.text.values()]
    shape = (int(options["width"]), int(options["layers"]), float(options["dropout"]))
    return Network(sizes, len(encoder.numbers), *shape)


def _parallel(network: Network, place: Place, rows: int, options: Mapping[str, Any]) -> Any:
    """The network as it is trained: compiled where it pays, and one of several under torchrun."""
    wanted: Any = options["compile"]
    parallel: Any = network
    if wanted == "auto":
        wanted = rows * int(options["max_epochs"]) >= _COMPILE_FROM_SAMPLES
    if wanted and place.device.type == "cuda":
        parallel = torch.compile(network)
    if place.world == 1:
        return parallel
    devices = [place.device] if place.device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(parallel, device_ids=devices)


@torch.inference_mode()
def _probabilities(network: Network, codes: torch.Tensor, values: torch.Tensor) -> np.ndarray:
    """In float32 whatever the training used: a model scores alike wherever it runs."""
    network.eval()
    parts = [
        torch.sigmoid(network(codes[at : at + _PREDICT_ROWS], values[at : at + _PREDICT_ROWS]).double())
        for at in range(0, len(codes), _PREDICT_ROWS)
    ]
    return torch.cat(parts).cpu().numpy() if parts else np.zeros(0)


@dataclass(frozen=True, slots=True)
class TorchMlp:
    """A fitted network with its encoder."""

    network: Network
    encoder: Encoder
    options: Mapping[str, Any]

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        """Probability of the positive class, shape (rows,), float64."""
        device = self.network.mean.device
        arrays = (self.encoder.codes(frame), self.encoder.values(frame))
        return _probabilities(self.network, *(torch.tensor(array, device=device) for array in arrays))

    def importances(self, frame: pd.DataFrame, labels: np.ndarray) -> dict[str, float]:
        """Loss of average precision when a feature is shuffled."""
        return permutation_importances(self.predict_proba, frame, labels, self.encoder.features)

    def save(self, folder: Path, example: pd.DataFrame) -> None:
        """Write an MLflow model folder (see the top of this file)."""
        with quiet_mlflow(), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            self._save(folder, example[self.encoder.features], Path(scratch))

    def _save(self, folder: Path, rows: pd.DataFrame, scratch: Path) -> None:
        import mlflow.pyfunc
        from mlflow.models import infer_signature

        schema = nullable(rows, self.encoder.numbers)
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(Path(__file__).with_name("torch_mlp_pyfunc.py")),
            artifacts={name: str(path) for name, path in self._write(scratch).items()},
            code_paths=[str(Path(__file__).parents[1])],
            pip_requirements=pinned("mlflow", "torch", "pandas", "numpy"),
            signature=infer_signature(schema, self.predict_proba(rows)),
            input_example=rows,
            metadata={"nightshift_model": "torch_mlp"},
        )

    def _write(self, folder: Path) -> dict[str, Path]:
        weights, encoder = folder / "weights.npz", folder / "encoder.json"
        np.savez(
            weights, **{name: tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}
        )
        document = {"encoder": self.encoder.to_dict(), "options": dict(self.options)}
        encoder.write_text(json.dumps(document), encoding="utf-8")
        return {"weights": weights, "encoder": encoder}


def load(folder: Path) -> TorchMlp:
    """Load a saved model without MLflow, to the device there is."""
    return load_files(folder / "artifacts" / "weights.npz", folder / "artifacts" / "encoder.json")


def load_files(weights: Path, encoder: Path) -> TorchMlp:
    """Put weights and encoder together; arrays only, an object in the archive is refused."""
    document = json.loads(encoder.read_text(encoding="utf-8"))
    columns = Encoder.from_dict(document["encoder"])
    network = _network(columns, document["options"])
    with np.load(weights, allow_pickle=False) as arrays:
        network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TorchMlp(network.to(device).eval(), columns, document["options"])
