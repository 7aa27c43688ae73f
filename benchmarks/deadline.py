"""How long a measurement may take."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from smartrt.errors import SmartrtError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 1e-3


@dataclass(frozen=True)
class Deadline:
    """When a budget is used up. Make one with `of`; `NEVER` is that of work which may take as long as it takes."""

    budget_s: float
    at: float

    @classmethod
    def of(cls, budget_s: float) -> Deadline:
        """It begins now."""
        return cls(budget_s, time.monotonic() + budget_s)

    @property
    def left(self) -> float:
        """Seconds; 0 when it is over."""
        return max(0.0, self.at - time.monotonic())

    @property
    def reason(self) -> str:
        """Why something was not done."""
        return f"given up after its budget of {self.budget_s:g} s"

    def check(self, *_: object) -> None:
        """End work whose budget is used up.

        Raises:
            SmartrtError: It is.
        """
        if not self.left:
            raise SmartrtError(self.reason)

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """End what is done inside at the deadline as Ctrl-C would, also where it waits for a silent process.

        In the main thread alone: signals go there.

        Raises:
            SmartrtError: The budget was used up.
        """
        rung = []

        def ring(*_: object) -> NoReturn:
            rung.append(True)
            # subprocess.Popen waits for its process before it lets any other error through.
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0 if math.isinf(self.at) else max(self.left, _AT_ONCE))
            yield
        except KeyboardInterrupt:
            if rung:
                raise SmartrtError(self.reason) from None
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


NEVER = Deadline(math.inf, math.inf)
