"""The base class of the embedded programs: start, stop, and a context manager."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Embedded(ABC):
    """A program that runs during its `with` block."""

    @abstractmethod
    def start(self) -> Self:
        """Start the program and wait until it is ready."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the program and wait for its exit. Idempotent."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
