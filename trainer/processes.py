"""The processes of one training, as started by a launcher: one per GPU, or a single process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from transformers import TrainingArguments

from model.device import choose_device


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's role. device: its device. is_first: whether it writes; the others wait for it."""

    device: torch.device
    is_first: bool

    @classmethod
    def of(cls, work: Path) -> Self:
        """Join the process group, if a launcher started several processes."""
        on_cpu = choose_device().type == "cpu"
        arguments = TrainingArguments(output_dir=str(work), use_cpu=on_cpu, report_to="none")
        return cls(arguments.device, arguments.process_index == 0)

    def wait(self) -> None:
        """Wait at a barrier for all processes."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
