"""Two data-parallel processes take the step of one."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from test_learner import SPACE, exact, gradients, slices

from amago_core.learning.batch import pack


def train_one_rank(rank: int, port: int, folder: str) -> None:
    """Take one step on this rank's batch, and save gradients and statistics."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    trained = exact()
    # One transition fewer on rank 1: the mean is over transitions, not over ranks.
    trained.update(pack(slices(0) if rank == 0 else slices(1)[:1], SPACE))
    dist.destroy_process_group()
    save_file(gradients_and_statistics(trained), Path(folder) / f"{rank}.safetensors")


def gradients_and_statistics(trained: Any) -> dict[str, torch.Tensor]:
    """Return gradients and statistics after a step."""
    buffers = {f"buffer.{name}": tensor.clone() for name, tensor in trained.agent.named_buffers()}
    return {**{name: g.clone() for name, g in gradients(trained).items()}, **buffers}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Of processes that torch spawns.
def test_two_ranks_take_the_step_of_one_process_on_both_batches(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(train_one_rank, args=(port, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    whole = exact()
    whole.update(pack(slices(0) + slices(1)[:1], SPACE))
    for rank in range(2):
        stored = load_file(tmp_path / f"{rank}.safetensors")
        assert stored.keys() == gradients_and_statistics(whole).keys()
        for name, tensor in gradients_and_statistics(whole).items():
            torch.testing.assert_close(stored[name], tensor, rtol=1e-9, atol=1e-12)
