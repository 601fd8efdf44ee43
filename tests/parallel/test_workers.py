"""Workers do a function of many items; errors are messages, nothing lies in shared memory, no process stays behind."""
import errno
import itertools
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from pix2pixcc.parallel.workers import AHEAD, in_order, in_parallel
from pix2pixcc.utils import UserError, available_cores

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these functions reach the workers by a fork")


def squared(number):
    if number < 0:
        raise UserError(f"{number} is below zero")
    return number ** 2


def process_of(_item):
    return os.getpid()


def script(text):
    return [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n" + textwrap.dedent(text)]


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("block", [1, 7])
def test_every_item_is_done_once(n_workers, block):
    items = list(range(100))
    assert sorted(in_parallel(squared, items, n_workers, block=block)) == [number ** 2 for number in items]


def test_a_slow_item_does_not_hold_up_the_others():
    gate, open_gate = os.pipe()

    def waits_for_the_others(number):
        if number == 0:
            select.select([gate], [], [], 60)
        return number

    results = in_parallel(waits_for_the_others, range(6), 2)
    assert sorted(itertools.islice(results, 5)) == [1, 2, 3, 4, 5]
    os.write(open_gate, b"open")
    assert list(results) == [0]


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(n_workers):
    assert list(in_order(squared, range(20), n_workers)) == [number ** 2 for number in range(20)]
    assert list(in_order(squared, [], n_workers)) == []


def test_work_is_shared_and_done_elsewhere():
    assert len(set(in_order(process_of, range(12), 3)) - {os.getpid()}) == 3
    assert set(in_order(process_of, range(3), 0)) == set(in_parallel(process_of, range(3), 1)) == {os.getpid()}
    assert os.getpid() not in set(in_parallel(process_of, range(3), 2))


def test_few_items_are_asked_for_ahead_of_time():
    asked = []
    results = in_order(squared, (asked.append(k) or k for k in itertools.count()), 2)
    for number in range(3):
        assert next(results) == number ** 2 and len(asked) == AHEAD * 2 + number + 1
    results.close()


def test_results_are_received_in_a_thread_of_this_process():
    results = in_order(process_of, range(2), 1, receive=lambda worker: (worker, os.getpid()))
    assert all(worker != here == os.getpid() for worker, here in results)


def test_arrays_and_tensors_arrive_as_they_were_and_can_be_written_to():
    made = {"image": np.arange(12.0).reshape(3, 4), "turned": np.arange(6).reshape(2, 3).T, "thin": np.arange(9)[::2],
            "empty": np.zeros((0, 3)), "tensor": torch.ones(5)[None], "view": torch.ones(2, 3).T, "index": 3}
    (came,) = in_order(lambda _: made, range(1), 1)
    assert came.keys() == made.keys() and came["index"] == 3
    for name, value in itertools.islice(made.items(), 6):
        assert type(came[name]) is type(value) and came[name].dtype == value.dtype and came[name].shape == value.shape
        assert bool((came[name] == value).all())
        came[name] += 1


def test_large_images_cross_whole():
    image = np.random.default_rng(0).integers(0, 255, 20_000_003, np.uint8)
    for number, came in enumerate(in_order(image.__add__, np.arange(3, dtype=np.uint8), 2)):
        assert np.array_equal(came, image + np.uint8(number))


def test_a_users_mistake_is_its_message_and_any_other_error_shows_where_it_was_made():
    results = in_order(squared, [1, -2, 3], 1)
    assert next(results) == 1
    with pytest.raises(UserError, match="^-2 is below zero$"):
        next(results)
    with pytest.raises(UserError, match="^-2 is below zero$"):
        list(in_parallel(squared, [1, -2, 3], 2))
    with pytest.raises(RuntimeError, match=r"(?s)^TypeError\(.*\) in a worker process\nTraceback.*, in squared\n"):
        list(in_order(squared, ["one"], 1))


@pytest.mark.parametrize("work", [in_order, in_parallel])
def test_a_killed_worker_is_a_message(work):
    with pytest.raises(UserError, match="a worker process was killed, probably for want of memory: lower --n_workers"):
        list(work(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(4), 2))
    assert multiprocessing.active_children() == []


def test_workers_end_with_the_work_whether_it_is_whole_or_not():
    outer, inner = in_order(squared, itertools.count(), 2), in_order(squared, itertools.count(), 2)
    assert next(outer) == next(inner) == 0 and len(multiprocessing.active_children()) == 4
    outer.close()                                          # whose end of each connection the later workers have too
    assert len(multiprocessing.active_children()) == 2 and next(inner) == 1
    inner.close()
    assert multiprocessing.active_children() == []


def test_workers_hear_no_signal():
    """As a shell or a batch system sends them, to all processes of a job; the one that started them stops them."""
    results = in_order(process_of, itertools.count(), 1)
    worker = next(results)
    os.kill(worker, signal.SIGTERM)
    os.kill(worker, signal.SIGINT)
    assert list(itertools.islice(results, 4)) == [worker] * 4
    results.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_workers_end_when_their_parent_is_killed():
    """They hold its output open as long as they live."""
    process = subprocess.Popen(script("""
        import itertools, time
        from pix2pixcc.parallel.workers import in_order
        results = in_order(abs, itertools.count(), 3)
        print(next(results), flush=True)
        time.sleep(600)"""), stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"0\n"
    process.kill()
    assert process.communicate(timeout=60) == (b"", None)


def test_a_process_that_leaves_its_workers_alone_still_ends():
    done = subprocess.run(script("""
        import itertools
        from pix2pixcc.parallel.workers import in_order
        results = in_order(abs, itertools.count(), 2)
        next(results)
        raise ValueError("a bug")"""), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.endswith("ValueError: a bug\n")


def test_a_machine_that_starts_no_more_processes_is_a_message(monkeypatch):
    fork, children = os.fork, itertools.count()

    def refused():
        if next(children):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(UserError, match=r"no worker .* started \(Resource .* unavailable\): lower --n_workers"):
        list(in_order(squared, range(3), 2))
    assert multiprocessing.active_children() == []


def test_workers_of_a_server_have_its_modules():
    done = subprocess.run(script("""
        from pix2pixcc.parallel.workers import in_parallel
        print(*in_parallel(eval, ["'colorsys' in __import__('sys').modules"] * 3, 2, preload=["colorsys"]))
        print("colorsys" in sys.modules)"""), capture_output=True, text=True, timeout=60)
    assert done.stdout == "True True True\nFalse\n", done.stderr


def test_a_server_hears_no_signal_while_it_imports(tmp_path):
    """Ctrl-C reaches all processes of a terminal: one that imports would show a traceback."""
    (tmp_path / "told.py").write_text("import os, signal\nblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
                                      "print(sorted(number.name for number in blocked), flush=True)\n")
    work = script("""
        from pix2pixcc.parallel.workers import in_parallel
        list(in_parallel(abs, [-1, -1, -1], 2, preload=["told"]))
        """)
    done = subprocess.run(work, capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.stdout == "['SIGINT', 'SIGTERM']\n", done.stderr


def test_nothing_lies_in_shared_memory():
    """Neither tensors nor semaphores can be made where no file may have any size; sockets need none."""
    done = subprocess.run(script("""
        import multiprocessing, resource, tempfile, torch
        from pix2pixcc.parallel.workers import in_order, in_parallel
        tempfile.gettempdir()      # found by writing to it
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        for shared in (multiprocessing.Lock, torch.ones(2 ** 20).share_memory_):
            try:
                shared()
            except (OSError, RuntimeError):
                print("refused")
        print([len(image) for image in in_order(torch.ones, [2 ** 20] * 3, 2)])
        print(*in_parallel(abs, [-1, -1, -1], 2), *in_parallel(abs, [-1, -1, -1], 2, preload=["math"]))
        """), capture_output=True, text=True, timeout=120)
    assert done.stdout == "refused\nrefused\n[1048576, 1048576, 1048576]\n1 1 1 1 1 1\n", done.stderr


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert available_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)      # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert available_cores() == 7
