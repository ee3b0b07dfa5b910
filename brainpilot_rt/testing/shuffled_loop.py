"""An event loop on virtual time that is driven by hand, in an order a seed decides.

What asyncio promises about order is little: a callback runs some time after it was scheduled. A
program that is right only in the usual order has a race that the usual order hides. Here, with a
seed, each turn of the loop runs a random part of what is ready in a random order, so that one seed
is one interleaving and shows the same race again. Without a seed the order is the usual one.

Work for threads is done at once, in one piece, on the loop: a run is then a function of its seed.
Nothing may be used here that needs real threads or sockets.

`turn` runs so many turns, or until nothing is ready, and never lets time pass; `pass_time` does.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from typing_extensions import override

from brainpilot_rt.testing.virtual_time import VirtualTimeLoop

Result = TypeVar("Result")
Args = TypeVarTuple("Args")

TURNS_MAX = 100_000
"""More turns than this without coming to rest is a program that spins."""


class Restless(AssertionError):
    """The program never came to rest."""


class ShuffledLoop(VirtualTimeLoop):
    """Virtual time, one thread, an order of its own."""

    if TYPE_CHECKING:  # what asyncio's own loops have and typeshed does not say
        _ready: deque[asyncio.Handle]
        _scheduled: list[asyncio.TimerHandle]
        _stopping: bool

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self._dice = None if seed is None else random.Random(seed)  # noqa: S311 - replayable on purpose
        self._turns: int | None = None

    @property
    def idle(self) -> bool:
        """Nothing can happen until time passes or somebody outside does something."""
        due = self._scheduled and self._scheduled[0].when() <= self.time()
        return not self._ready and not due

    def turn(self, times: int | None = None) -> None:
        """Run so many turns, or fewer when nothing is ready; None: until nothing is."""
        self._turns = TURNS_MAX if times is None else times
        try:
            if self._turns and not self.idle:
                self.run_forever()
            if times is None and not self.idle:
                raise Restless(f"not at rest after {TURNS_MAX} turns: {list(self._ready)[:3]}")
        finally:
            self._turns = None

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, timer by timer, and come to rest."""
        end = self.time() + seconds
        self.turn()
        while self._scheduled and self._scheduled[0].when() <= end:
            self._virtual.now = max(self._virtual.now, self._scheduled[0].when())
            self.turn()
        self._virtual.now = max(self._virtual.now, end)

    def _run_once(self) -> None:
        held = self._shuffle()
        if self._turns is not None:
            self._stopping = True  # so that the selector is only asked, never waited for
        super()._run_once()  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType] - of asyncio's own loops
        self._ready.extend(held)
        if self._turns is not None:
            self._turns -= 1
            self._stopping = self._turns <= 0 or self.idle

    def _shuffle(self) -> list[asyncio.Handle]:
        """Bring what is ready into a new order; return what has to wait for the next turn."""
        count = len(self._ready)
        if self._dice is None or count <= 1:
            return []
        self._dice.shuffle(self._ready)
        return [self._ready.pop() for _ in range(self._dice.randrange(count))]

    @override
    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Args], Result], *args: *Args
    ) -> asyncio.Future[Result]:
        """Do the job now; its result comes when the loop gets to it."""
        future: asyncio.Future[Result] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as failure:  # noqa: BLE001 - whatever the job raises is its outcome
            future.set_exception(failure)
        return future
