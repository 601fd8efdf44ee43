"""Writing in the background, so that saving never stalls a training."""
from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue

import torch

MOST_WAITING = 3      # jobs; each may hold a copy of all weights


class BackgroundWriter:
    """Run jobs one after the other in a thread; as a context manager, end when all are done.

    After an error no further job is done, so that nothing is written that relies on what could not be. The error is
    raised by the next `submit` or `wait`, or at the end of the `with` block.
    """

    def __init__(self) -> None:
        self._jobs: Queue[tuple[Callable, tuple, dict] | None] = Queue(MOST_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        threads, self._started = torch.get_num_threads(), threading.Event()
        self._thread.start()
        self._started.wait()
        torch.set_num_threads(threads)

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._jobs.put(None)
        self._thread.join()
        if error is None:
            self._raise_error()

    def submit(self, job: Callable, *arguments: object, **named: object) -> None:
        """Queue `job(*arguments, **named)`; wait while three stand in line."""
        self._raise_error()
        self._jobs.put((job, arguments, named))

    def wait(self) -> None:
        """Return when all jobs so far are done."""
        self._jobs.join()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        # A second team of OpenMP threads would be one thread more than there are cores; libgomp then lets all of them
        # sleep while they wait for each other, and a training step on the CPU takes half as long again from then on.
        torch.get_num_threads()                            # else the first use would set the number for all threads
        torch.set_num_threads(1)
        self._started.set()
        while (work := self._jobs.get()) is not None:
            job, arguments, named = work
            try:
                if self._error is None:
                    job(*arguments, **named)
            except BaseException as error:                 # handed to the thread that asked for the job
                self._error = error
            finally:
                del work, job, arguments, named            # a copy of the weights need not wait for the next job
                self._jobs.task_done()
