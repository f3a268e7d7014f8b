# SPDX-License-Identifier: MIT
"""What somebody takes of the wire, and when it is put back."""

import pytest

from keepalived_dummy.filter_losses import FOUGHT, GAP, LONGEST, WITHIN, Losses

ENS3, ENS4 = 2, 3


def test_a_filter_is_due_at_once_and_once() -> None:
    losses = Losses()
    losses.filter_went(ENS3, 10.0)
    losses.filter_went(ENS3, 10.1)
    assert losses.deadline() == 10.0
    assert losses.due(10.1) == [(ENS3, False)]
    assert losses.due(99.0) == []


def test_a_qdisc_is_due_later_and_again_from_its_last_loss() -> None:
    losses = Losses()
    losses.qdisc_went(ENS3, 1.0, 10.0)
    losses.filter_went(ENS4, 10.0)
    assert losses.due(10.5) == [(ENS4, False)]
    losses.qdisc_came(ENS3, 10.6)  # somebody's, and he takes it again
    losses.qdisc_went(ENS3, 1.0, 10.7)
    assert losses.due(11.6) == []
    assert losses.due(11.7) == [(ENS3, True)]


def test_a_filter_is_not_put_where_no_qdisc_is() -> None:
    losses = Losses()
    losses.qdisc_went(ENS3, 1.0, 10.0)
    losses.filter_went(ENS3, 10.0)
    assert losses.due(10.5) == []
    assert losses.wait(ENS3, 10.5) == 0.5


def test_who_flushes_filters_over_and_over_is_answered_twice_a_second_in_the_end() -> None:
    losses = Losses()
    times = 0
    for n in range(10_000):
        now = n / 100
        losses.filter_went(ENS3, now)
        times += len(losses.due(now))
    assert (
        100 <= times <= 260
    )  # of 10,000 in 100 s; those of a minute's flushing once a second are all answered


def test_who_flushes_once_a_second_is_answered_each_time() -> None:
    losses = Losses()
    for n in range(1000):
        losses.filter_went(ENS3, float(n))
        assert losses.due(float(n)) == [(ENS3, False)]


def test_a_qdisc_that_is_fought_over_comes_later_each_time() -> None:
    """Each time it comes the interface drops what it sends for a moment."""
    losses, now, gaps = Losses(), 0.0, []
    for _ in range(10):
        losses.qdisc_went(ENS3, GAP, now)
        due = losses.deadline()
        assert due is not None
        gaps.append(round(due - now, 6))
        assert losses.due(due) == [(ENS3, True)]
        now = due + 0.2
    assert gaps[:5] == [GAP, GAP, GAP, 2 * GAP, 4 * GAP]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST
    losses.qdisc_went(ENS3, GAP, now + WITHIN + 1)
    assert losses.deadline() == pytest.approx(now + WITHIN + 1 + GAP)


def test_filters_that_went_make_no_qdisc_later() -> None:
    losses = Losses()
    for n in range(20):
        losses.filter_went(ENS3, n / 2)
        losses.is_fought(ENS3, n / 2)
    losses.qdisc_went(ENS3, GAP, 10.0)
    assert losses.deadline() == 10.0 + GAP


def test_what_cannot_be_put_back_now_is_later() -> None:
    """Another command runs: the loop is not woken over and over for it."""
    losses = Losses()
    losses.filter_went(ENS3, 10.0)
    losses.qdisc_went(ENS4, GAP, 10.0)
    losses.put_off(10.0)
    due = losses.deadline()
    assert due is not None and 10.05 < due < 10.5
    assert losses.due(due) == [(ENS3, False)]
    assert losses.due(10.0 + GAP) == [(ENS4, True)]


@pytest.mark.parametrize(("every", "told"), [(1.0, 1), (WITHIN / 2 - 1, 1), (WITHIN + 1, 0)])
def test_a_fight_is_told_once(every: float, told: int) -> None:
    losses = Losses()
    assert sum(losses.is_fought(ENS3, n * every) for n in range(FOUGHT + 10)) == told


def test_all_that_goes_at_one_moment_is_one_loss_and_another_fight_is_told_again() -> None:
    losses = Losses()
    assert not any(losses.is_fought(ENS3, n / 100) for n in range(10))
    for begin in (100.0, 300.0):
        assert [losses.is_fought(ENS3, begin + n) for n in range(4)] == [False, False, True, False]


def test_an_interface_that_is_gone_is_forgotten() -> None:
    losses = Losses()
    for n in range(FOUGHT):
        losses.is_fought(ENS3, float(n))
    losses.qdisc_went(ENS3, 1.0, 3.0)
    losses.forget(ENS3)
    assert losses.deadline() is None
    losses.filter_went(ENS3, 4.0)
    assert losses.due(4.0) == [(ENS3, False)]
    assert not losses.is_fought(ENS3, 4.0)
