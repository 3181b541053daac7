"""The processes of one training, as the library's launcher starts them: one a GPU, or just this one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from transformers import TrainingArguments

from model.device import choose_device


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among them. device: its own. is_first: it writes, the others wait for it."""

    device: torch.device
    is_first: bool

    @classmethod
    def of(cls, work: Path) -> Self:
        """Join the others, if the launcher started several."""
        on_cpu = choose_device().type == "cpu"
        arguments = TrainingArguments(output_dir=str(work), use_cpu=on_cpu, report_to="none")
        return cls(arguments.device, arguments.process_index == 0)

    def wait(self) -> None:
        """Return when every process is here."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
