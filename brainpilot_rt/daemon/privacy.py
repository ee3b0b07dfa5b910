"""The memory of the daemon holds keys and all its agents have read: nobody else may look at it.

A core file would put it on the disk. And what the kernel calls dumpable decides too whether another
process of the same user may attach to this one, or read its environment and memory by `/proc`.
Programs that the daemon starts are dumpable again from their `exec` on.
"""

import ctypes
import logging
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4

_log = logging.getLogger(__name__)


def keep_memory_private() -> None:
    """No core files, of this process and its children; on Linux no debugger and no `/proc/.../mem`.

    Root and whoever may trace every process are not kept out.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        _log.warning("other processes of this user may read the memory of this one")
