"""What every program of the embedded stack can: start, stop, and do both as a context manager."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Embedded(ABC):
    """A program that runs while its `with` block does."""

    @abstractmethod
    def start(self) -> Self:
        """Start what does not run, and return once it answers."""

    @abstractmethod
    def stop(self) -> None:
        """End it and wait until it is gone. May be called again."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
