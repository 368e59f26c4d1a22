"""Processes that this one starts must not outlive it, however it ends."""

import multiprocessing
import os
import threading

_LOOK_EVERY_S = 0.5


def end_with_parent() -> None:
    """Let this process end within a second of the process that started it, even by SIGKILL.

    For children that `multiprocessing` starts, by whichever method; in others it does nothing. They
    end whatever they are doing: busy, waiting for a file, or for a queue that nobody empties any
    more.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    started_by = os.getppid()

    def watch() -> None:
        # The parent's end closes a pipe, unless a later child of the parent has inherited that:
        # then it shows in who adopts this process. Not Linux's PR_SET_PDEATHSIG, which comes when
        # the thread that forked ends, though its process lives on.
        while parent.is_alive() and os.getppid() == started_by:
            parent.join(_LOOK_EVERY_S)
        # At once: the usual way out waits for threads and queues.
        os._exit(1)

    threading.Thread(target=watch, name="eosin-parent", daemon=True).start()
