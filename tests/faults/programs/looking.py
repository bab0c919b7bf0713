"""Looks at what all threads run while others start, and while there is garbage whose finalisers let other threads go on."""

import gc
import threading
import time

from poolmgr.pools.forks import current_frames


class Dropped:
    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        time.sleep(0.001)


over = threading.Event()


def start_threads() -> None:
    while not over.is_set():
        threading.Thread(target=int).start()


starting = threading.Thread(target=start_threads)
starting.start()
for _ in range(30):
    gc.disable()
    for _ in range(3):
        Dropped()
    gc.set_threshold(1)
    gc.enable()
    current_frames()
    gc.set_threshold(700)
over.set()
starting.join()
print(gc.isenabled())
