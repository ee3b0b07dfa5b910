"""Log lines that can neither stop a process nor drown it.

Whoever reads standard error may have stopped reading, or be gone. A line is therefore handed to a
thread of its own, over a bounded queue: what does not fit is dropped and counted, and the count is
said when there is room again. Of lines that differ in their arguments only, so many per window are
written; the rest are counted, and said with the next one.
"""

import errno
import logging
import os
import sys
import threading
from collections import deque
from typing import Final

from typing_extensions import override

_QUEUE_LINES: Final = 2_000
_SAME_MAX: Final = 50
_WINDOW_S: Final = 10.0
_KEYS_MAX: Final = 1_000
_LEAVE_S: Final = 1.0


class CalmHandler(logging.Handler):
    """Writes to a descriptor, never in the caller's time. Make one per process; it never closes."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.dropped = 0
        """Lines that nobody will see: the queue was full, or the reader is gone."""
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._empty = threading.Event()
        self._empty.set()
        self._same: dict[tuple[str, int, str], tuple[float, int]] = {}
        threading.Thread(target=self._write_all, name="log lines", daemon=True).start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or count it."""
        held_back = self._calm(record)
        if held_back is None:
            return
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - a bad line of ours must not fail its caller
            text = f"{record.name}: a log line could not be made: {error!r}"
        if held_back:
            text += f" (and {held_back} lines like this were left out)"
        if len(self._lines) >= _QUEUE_LINES:
            self.dropped += 1
            return
        self._empty.clear()
        self._lines.append(f"{text}\n".encode("utf-8", "backslashreplace"))
        self._wake.set()

    @override
    def flush(self) -> None:
        """Wait a moment for what is queued; a reader that does not read is not waited for."""
        self._empty.wait(_LEAVE_S)

    def _calm(self, record: logging.LogRecord) -> int | None:
        """None: one too many of its kind; else how many of its kind were left out before it."""
        key = (record.name, record.levelno, str(record.msg)[:200])
        since, count = self._same.get(key, (record.created, 0))
        if not 0 <= record.created - since < _WINDOW_S:
            self._same[key] = (record.created, 1)
            return max(0, count - _SAME_MAX)
        if len(self._same) >= _KEYS_MAX:
            self._same.clear()
        self._same[key] = (since, count + 1)
        return 0 if count < _SAME_MAX else None

    def _write_all(self) -> None:
        said = 0
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                line = self._lines.popleft()
                if self.dropped > said:
                    line = b"[%d log lines were dropped]\n" % (self.dropped - said) + line
                    said = self.dropped
                if not _written(self._fd, line):
                    self.dropped += 1
            self._empty.set()


def _written(fd: int, line: bytes) -> bool:
    while line:
        try:
            line = line[os.write(fd, line) :]
        except OSError as error:
            if error.errno != errno.EAGAIN:
                return False
            threading.Event().wait(0.05)  # somebody made it non-blocking: it is shared
    return True


def occupy_standard_descriptors() -> None:
    """Open the null device in the place of a closed stdin, stdout or stderr.

    The next file or socket would take the number, and be written to by whoever prints.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - the standard three
        pass
    os.close(fd)
    # Python has none of these where the descriptor was closed when it started.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above
