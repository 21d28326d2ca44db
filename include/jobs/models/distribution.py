"""Where this process stands among those that train together: alone, or one of torchrun's."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Place", "join"]


@dataclass(frozen=True, slots=True)
class Place:
    """Rank ``rank`` of ``world``, on ``device``."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that talks and writes."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """Return what rank 0 says, so that no process leaves the others waiting."""
        if self.world == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(box, src=0)
        return float(box.item())


@contextlib.contextmanager
def join() -> Iterator[Place]:
    """Choose the device and, under ``torchrun`` (RANK, WORLD_SIZE, LOCAL_RANK), join the others.

    GPUs talk through NCCL, processors through gloo.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", local % torch.cuda.device_count()) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    ours = world > 1 and not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if gpu else "gloo")
    try:
        yield Place(rank, world, device)
    finally:
        if ours:
            dist.destroy_process_group()
