"""When a run does what."""
from pix2pixcc.training.schedule import Schedule, learning_rate


def test_the_learning_rate_falls_linearly_to_nothing_after_the_last_epoch():
    assert [learning_rate(1.0, epoch, 8, 4) for epoch in range(9)] == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert learning_rate(1.0, 140, 150, None) == 1.0


def test_an_event_acts_once_whenever_the_count_passes_its_multiple():
    schedule = Schedule(report=6, display=9, save=10, epoch=5, end=22)
    due = {now: schedule.passed(now - 4, now, stopping=False) for now in range(4, 25, 4)}
    assert [now for now, what in due.items() if what.report] == [8, 12, 20, 24]
    assert [now for now, what in due.items() if what.display] == [12, 20]
    assert [now for now, what in due.items() if what.save] == [12, 20, 24]      # the last one at the end
    assert [now for now, what in due.items() if what.epoch] == [8, 12, 16, 20]
    assert [now for now, what in due.items() if what.asks_for_networks] == [8, 12, 20, 24]


def test_what_is_asked_to_stop_is_saved():
    schedule = Schedule(report=100, display=100, save=100, epoch=100, end=1000)
    assert schedule.passed(4, 8, stopping=True) == (False, False, True, False)
    assert not any(schedule.passed(4, 8, stopping=False))
