"""The plan of a backfill: what each step has to do, in which chunks, for how long and for how much."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nightshift.backfill.pace import read as read_pace
from nightshift.backfill.state import Mark, Marks, State, judge, look
from nightshift.backfill.steps import CHUNK_SIZE, NEEDS, REPROCESS, STEPS
from nightshift.config.partitions import back, check_key, days
from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from nightshift.backfill.pace import Pace
    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.tables import Lake

__all__ = [
    "SLOTS",
    "Plan",
    "Request",
    "StepPlan",
    "chunk_label",
    "in_chunk",
    "make_plan",
    "plan_id",
    "plan_range",
]

SLOTS = 2
"""Slots of the pool ``nightshift_backfill``: chunks, or jobs, that run at once."""

_ONE_BY_ONE = ("retrain",)  # a model is a partition's own
_TASK_S = 2.0  # starting a task, on this side of a warm executor
_LETTERS = {State.PRESENT: "p", State.MISSING: "m", State.FAILED: "f"}
_STATES = {letter: state for state, letter in _LETTERS.items()}
_CHOSEN = {
    "missing": (State.MISSING, State.FAILED),
    "failed": (State.FAILED,),
    "all": tuple(State),
}
# What is made of a partition's rows is made again after them. A model is not: it reads many partitions.
_FOLLOWS = {"validate": "ingest", "score": "validate"}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    :param reprocess: ``missing`` does what is missing or failed, ``failed`` only what failed, ``all``
        everything again.
    :param chunk_size: partitions that one process works through, at most.
    :param models_from: the first partition with a whole training window; no model is made for those before.
    """

    first: str
    last: str
    steps: tuple[str, ...] = ("ingest", "validate")
    reprocess: str = "missing"
    chunk_size: int = CHUNK_SIZE
    dry_run: bool = False
    announce: bool = True
    models_from: str = ""

    @classmethod
    def of(cls, pipeline: Pipeline, form: Mapping[str, Any]) -> Request:
        """The fields of a form: ``from`` and ``to``, the others under their names here.

        :raises PartitionKeyError: a day that is none of the pipeline's, or an empty range.
        :raises ConfigError: anything else that cannot be asked for.
        """
        steps = form.get("steps") or ()
        unknown = [step for step in steps if step not in STEPS]
        if unknown or not steps:
            what = f"there is no step {unknown[0]!r}" if unknown else "no step is chosen"
            raise ConfigError(what, fix=f"choose among: {', '.join(STEPS)}")
        reprocess = form.get("reprocess", "missing")
        if reprocess not in REPROCESS:
            raise ConfigError(
                f"reprocess cannot be {reprocess!r}", fix=f"choose one of: {', '.join(REPROCESS)}"
            )
        size = int(form.get("chunk_size", CHUNK_SIZE))
        if size < 1:
            raise ConfigError(f"a chunk cannot hold {size} partitions", fix="give chunk_size as 1 or more")
        for end in ("from", "to"):
            if not form.get(end):
                raise ConfigError(f"'{end}' is not given", fix="set it in the form, e.g. 2013-01-05")
        asked = cls(
            first=check_key(pipeline, str(form["from"])),
            last=check_key(pipeline, str(form["to"])),
            steps=tuple(step for step in STEPS if step in steps),
            reprocess=reprocess,
            chunk_size=size,
            dry_run=bool(form.get("dry_run", False)),
            announce=bool(form.get("announce", True)),
            models_from=back(pipeline.partitions.start.isoformat(), 1 - pipeline.training.window.days),
        )
        days(asked.first, asked.last)
        return asked

    @property
    def partitions(self) -> list[str]:
        """The range, oldest first."""
        return days(self.first, self.last)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step: what is there, what is to be done, what cannot be done and why.

    :param states: a letter a partition of the range: present, missing, failed.
    :param reasons: of those that failed.
    :param chunk_size: as asked for, or more where Airflow would not take so many chunks.
    :param pace: seconds, US dollars and how many partitions that was measured on.
    """

    states: str
    reasons: Mapping[str, str]
    work: tuple[str, ...]
    impossible: Mapping[str, str]
    chunk_size: int
    pace: Mapping[str, Any]

    def count(self, state: State) -> int:
        """Partitions of the range in that state."""
        return self.states.count(_LETTERS[state])

    @property
    def chunks(self) -> list[tuple[str, ...]]:
        """The work in pieces, oldest first."""
        size = self.chunk_size
        return [self.work[start : start + size] for start in range(0, len(self.work), size)]

    @property
    def usd(self) -> float:
        """What the work is expected to cost."""
        return float(self.pace["usd"]) * len(self.work)

    @property
    def seconds(self) -> float:
        """How long the work is expected to take, with every slot of the pool for it."""
        chunks = len(self.chunks)
        if not chunks:
            return 0.0
        side_by_side = min(SLOTS, chunks)
        longest = math.ceil(chunks / side_by_side) * self.chunk_size
        share = min(longest, len(self.work))
        return share * float(self.pace["seconds"]) + math.ceil(chunks / side_by_side) * _TASK_S


@dataclass(frozen=True, slots=True)
class Plan:
    """A backfill, planned. JSON-safe through :meth:`to_dict`.

    :param made_at: seconds of the epoch; results of an earlier plan of the same run are known by it.
    """

    id: str
    pipeline: str
    run: str
    made_at: float
    request: Request
    steps: Mapping[str, StepPlan]

    @property
    def minutes(self) -> float:
        """How long all of it is expected to take; the steps run one after the other."""
        return sum(step.seconds for step in self.steps.values()) / 60

    @property
    def usd(self) -> float:
        """What all of it is expected to cost."""
        return sum(step.usd for step in self.steps.values())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not any(step.work for step in self.steps.values())

    def marks(self) -> Marks:
        """The states that the plan was made from."""
        every = self.request.partitions
        return {
            name: {
                key: Mark(_STATES[letter], step.reasons.get(key, ""))
                for key, letter in zip(every, step.states, strict=True)
            }
            for name, step in self.steps.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """For ``backfills/<id>.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """The opposite."""
        request = {**data["request"], "steps": tuple(data["request"]["steps"])}
        steps = {
            name: StepPlan(**{**step, "work": tuple(step["work"])}) for name, step in data["steps"].items()
        }
        return cls(**{**data, "request": Request(**request), "steps": steps})


def plan_id(request: Request, dag_id: str, run_id: str) -> str:
    """Names a backfill, the same on every try of its run: ``2013-01-01_2013-12-31_0123456789ab``."""
    digest = hashlib.sha256(f"{dag_id}/{run_id}".encode()).hexdigest()[:12]
    return f"{request.first}_{request.last}_{digest}"


def make_plan(
    name: str,
    request: Request,
    marks: Marks,
    pace: Mapping[str, Pace],
    *,
    pipeline: str,
    run: str = "",
    most_chunks: int = 1024,
) -> Plan:
    """What is to be done, given what is there.

    :param marks: of the chosen steps and of those that they need.
    :param most_chunks: what Airflow takes at most of one mapped task.
    """
    steps: dict[str, StepPlan] = {}
    for step in request.steps:
        work, impossible = _divide(step, request, marks, steps)
        now, size = marks[step], 1 if step in _ONE_BY_ONE else request.chunk_size
        steps[step] = StepPlan(
            states="".join(_LETTERS[now[key].state] for key in request.partitions),
            reasons={key: mark.why for key, mark in now.items() if mark.state is State.FAILED},
            work=work,
            impossible=impossible,
            chunk_size=max(size, math.ceil(len(work) / most_chunks)),
            pace=asdict(pace[step]),
        )
    return Plan(name, pipeline, run, time.time(), request, steps)


def plan_range(
    lake: Lake,
    request: Request,
    *,
    name: str,
    pipeline: str,
    run: str = "",
    models: Callable[[], Collection[str]] = tuple,
    most_chunks: int = 1024,
) -> Plan:
    """Look at what is there, and plan.

    :param models: gives the partitions that have a model version; called for the step ``retrain`` only.
    """
    steps = request.steps
    known = {*steps, *(NEEDS[step] for step in steps if step in NEEDS)}
    marks = judge(look(lake, request.partitions, steps, models=models), request.partitions, known)
    pace = read_pace(lake, steps)
    return make_plan(name, request, marks, pace, pipeline=pipeline, run=run, most_chunks=most_chunks)


def _divide(
    step: str, request: Request, marks: Marks, planned: Mapping[str, StepPlan]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The partitions that this step has to do, and those that it would have to and cannot."""
    again = _again(step, request, marks, planned)
    wanted = [
        key
        for key in request.partitions
        if marks[step][key].state in _CHOSEN[request.reprocess] or key in again
    ]
    if step == "retrain":
        wanted = [key for key in wanted if key >= request.models_from]
    if step not in NEEDS:
        return tuple(wanted), {}
    needed = NEEDS[step]
    before = planned.get(needed)
    coming = set(before.work) if before else set()
    why = {
        key: _hindrance(key, needed, mark, before)
        for key in wanted
        if key not in coming and (mark := marks[needed][key]).state is not State.PRESENT
    }
    return tuple(key for key in wanted if key not in why), why


def _again(step: str, request: Request, marks: Marks, planned: Mapping[str, StepPlan]) -> set[str]:
    """What is done whatever its own state: after its rows were made anew, or because they may be at fault."""
    if step == "ingest" and "validate" in request.steps:  # the source of a blocked partition may be corrected
        return {key for key, mark in marks["validate"].items() if mark.state is State.FAILED}
    follows = _FOLLOWS.get(step, "")
    return set(planned[follows].work) if follows in planned else set()


def _hindrance(key: str, needed: str, mark: Mark, before: StepPlan | None) -> str:
    """Why a step cannot be done: what it needs is not there, and is not made before it either."""
    if before is not None and key in before.impossible:
        return before.impossible[key]
    cure = "choose that step too" if before is None else "choose 'missing' as what to reprocess"
    return f"{needed} is {mark.state.value} ({mark.why}): {cure}"


def chunk_label(chunk: Sequence[str]) -> str:
    """``2013-01-01..2013-01-30``: what is handed to a mapped task, and what the UI shows of it."""
    return chunk[0] if len(chunk) == 1 else f"{chunk[0]}..{chunk[-1]}"


def in_chunk(work: Sequence[str], label: str) -> list[str]:
    """The partitions of a step's work that a label means."""
    first, _, last = label.partition("..")
    return [key for key in work if first <= key <= (last or first)]
