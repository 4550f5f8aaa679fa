"""What every process of the recipe does when it starts."""

from __future__ import annotations

import multiprocessing
import os
import threading


def start_worker() -> None:
    """Make way for whatever else runs here, and end with the parent even when that is killed."""

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None, "only workers start workers' watchers"
        parent.join()
        os._exit(1)

    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), 5))
    threading.Thread(target=end_with_parent, daemon=True).start()
