"""Sequence layout of a packed batch: lengths, offsets and times of sequences without padding.

Shape suffixes: N = timesteps of all sequences, S = sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SequenceLayout:
    """Boundaries and times of the sequences in a packed stream.

    A *packed stream* is many sequences concatenated without padding. Only backbones read the layout;
    every other part treats the N rows independently. Built once per batch.

    Two layouts are equal only if they are the same object, so that a kernel can cache values derived
    from a layout under the layout itself.

    Args:
        lengths: Timesteps of each sequence, on the host.
        offsets: Cumulative lengths ``(S + 1,)``, int32, on the device.
        sequence_N: Index of the row's sequence, int64.
        time_N: Steps since the row's task began, int64.
    """

    lengths: tuple[int, ...]
    offsets: Tensor
    sequence_N: Tensor
    time_N: Tensor

    @classmethod
    def build(
        cls,
        lengths: Sequence[int],
        time_N: Tensor | None = None,
        device: torch.device | str | None = None,
    ) -> SequenceLayout:
        """Return the layout of concatenated sequences of the given lengths.

        Args:
            lengths: Timesteps of each sequence, each at least 1.
            time_N: Steps since each row's task began; counted from 0 in every sequence if absent.
            device: Device of the tensors; by default that of ``time_N``, else the CPU.

        Raises:
            ValueError: If a length is below 1, or ``time_N`` has another number of rows.
        """
        if not lengths or min(lengths) < 1:
            raise ValueError(f"every sequence needs at least one timestep, not {tuple(lengths)}")
        counts = torch.tensor(lengths)
        ends = counts.cumsum(0)
        rows = int(ends[-1])
        sequence_N = torch.repeat_interleave(torch.arange(len(lengths)), counts)
        if time_N is None:
            time_N = torch.arange(rows) - (ends - counts)[sequence_N]
        elif time_N.shape != (rows,):
            raise ValueError(f"time has shape {tuple(time_N.shape)}, the lengths add up to {rows}")
        elif device is None:
            device = time_N.device
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), ends]).to(torch.int32)
        return cls(
            lengths=tuple(int(length) for length in lengths),
            offsets=offsets.to(device),
            sequence_N=sequence_N.to(device),
            time_N=time_N.to(device),
        )

    @property
    def timesteps(self) -> int:
        """N: rows of the stream."""
        return int(self.time_N.shape[0])

    @property
    def sequences(self) -> int:
        """S: sequences in the stream."""
        return len(self.lengths)

    @cached_property
    def runs(self) -> tuple[tuple[int, int, int], ...]:
        """Runs of adjacent sequences of equal length, as ``(first row, sequences, length)``.

        A kernel without a packed form can take each run as one ``(sequences, length)`` block.
        """
        runs: list[tuple[int, int, int]] = []
        row = 0
        for length in self.lengths:
            if runs and runs[-1][2] == length:
                start, count, _ = runs[-1]
                runs[-1] = (start, count + 1, length)
            else:
                runs.append((row, 1, length))
            row += length
        return tuple(runs)

    # Created outside inference mode because cached tensors may be used in training.
    @cached_property
    @torch.inference_mode(False)
    def _time_major(self) -> tuple[Tensor, Tensor]:
        longest_first = sorted(range(self.sequences), key=lambda index: -self.lengths[index])
        rank_S = torch.empty(self.sequences, dtype=torch.int64)
        rank_S[torch.tensor(longest_first)] = torch.arange(self.sequences)
        counts = torch.tensor(self.lengths)
        sequence_N = torch.repeat_interleave(torch.arange(self.sequences), counts)
        position_N = torch.arange(self.timesteps) - (counts.cumsum(0) - counts)[sequence_N]
        order_N = torch.argsort(position_N * self.sequences + rank_S[sequence_N])
        return order_N, torch.bincount(position_N)

    @cached_property
    @torch.inference_mode(False)
    def time_major_N(self) -> Tensor:
        """Rows by position in their sequence, longer sequences first: torch's ``PackedSequence``."""
        return self._time_major[0].to(self.time_N.device)

    @cached_property
    @torch.inference_mode(False)
    def from_time_major_N(self) -> Tensor:
        """The inverse of :attr:`time_major_N`."""
        return torch.argsort(self.time_major_N)

    @property
    def batch_sizes(self) -> Tensor:
        """Number of sequences with a timestep at each position, int64, on the host."""
        return self._time_major[1]
