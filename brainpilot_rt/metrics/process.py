"""Facts about this process."""

import os
import resource
import sys
from typing import Final

_STATM: Final = "/proc/self/statm"
_PAGE_BYTES: Final = resource.getpagesize()


def rss_bytes() -> int:
    """Resident memory; where the system does not tell the present value, the highest so far."""
    try:
        fd = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    try:
        return int(os.read(fd, 256).split()[1]) * _PAGE_BYTES
    finally:
        os.close(fd)
