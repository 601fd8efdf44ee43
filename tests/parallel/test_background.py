"""Jobs are done in order in another thread; after an error none is done, and it is raised where they were asked for."""
import threading
import time

import pytest
import torch

from pix2pixcc.parallel.background import BackgroundWriter


def test_jobs_are_done_in_order_in_another_thread():
    done = []
    with BackgroundWriter() as writer:
        for number in range(10):
            writer.submit(lambda number, **named: done.append((number, named, threading.current_thread().name)),
                          number, extra=number)
    assert done == [(number, {"extra": number}, "writer") for number in range(10)]


def test_waiting_returns_when_all_is_done():
    done = []
    with BackgroundWriter() as writer:
        writer.submit(lambda: (time.sleep(0.1), done.append(1)))
        assert not done
        writer.wait()
        assert done == [1]


def test_few_jobs_stand_in_line():
    started, release = threading.Event(), threading.Event()
    with BackgroundWriter() as writer:
        writer.submit(lambda: (started.set(), release.wait()))
        started.wait()
        for _ in range(3):
            writer.submit(lambda: None)
        blocked = threading.Thread(target=writer.submit, args=(lambda: None,))
        blocked.start()
        blocked.join(0.1)
        assert blocked.is_alive()
        release.set()
        blocked.join(5)
        assert not blocked.is_alive()


def fail():
    raise ValueError("no disk")


@pytest.mark.parametrize("ask", [lambda writer: writer.wait(), lambda writer: (time.sleep(0.2), writer.submit(print))],
                         ids=["wait", "submit"])
def test_an_error_is_raised_where_the_next_job_is_asked_for(ask):
    done = []
    with pytest.raises(ValueError, match="no disk"), BackgroundWriter() as writer:
        writer.submit(fail)
        writer.submit(done.append, 1)
        ask(writer)
    assert done == []


def test_an_error_is_raised_at_the_end_but_not_over_another():
    with pytest.raises(ValueError, match="no disk"), BackgroundWriter() as writer:
        writer.submit(fail)
    with pytest.raises(KeyError, match="first"), BackgroundWriter() as writer:
        writer.submit(fail)
        raise KeyError("first")


def test_a_job_that_is_done_holds_nothing():
    """A copy of all weights must not wait for the next job to be freed."""
    import weakref

    class Weights:
        pass

    weights = Weights()
    seen = weakref.ref(weights)
    with BackgroundWriter() as writer:
        writer.submit(lambda kept: None, weights)
        del weights
        writer.wait()
        assert seen() is None


def test_the_writer_computes_with_one_thread_and_leaves_the_other_threads_theirs():
    """More OpenMP threads than cores slow a training on the CPU down for good."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        numbers = []
        with BackgroundWriter() as writer:
            writer.submit(lambda: numbers.append(torch.ones(2 ** 20).sum() and torch.get_num_threads()))
            writer.wait()
            later = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
            later.start()
            later.join()
            numbers.append(torch.get_num_threads())
        assert numbers == [1, 2, 2]
    finally:
        torch.set_num_threads(before)
