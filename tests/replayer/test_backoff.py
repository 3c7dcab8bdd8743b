from itertools import count

from logpipe.replayer.backoff import Backoff


def test_pauses_grow_until_patience_ends() -> None:
    clock_s = count(0.0, 10.0)
    backoff = Backoff(35.0, first_s=1.0, longest_s=3.0, clock=lambda: next(clock_s))
    assert [backoff.next_pause_s() for _ in range(5)] == [1.0, 2.0, 3.0, 3.0, None]
    backoff.reset()
    assert backoff.next_pause_s() == 1.0


def test_without_a_limit_it_never_ends() -> None:
    clock_s = count(0.0, 1e6)
    backoff = Backoff(longest_s=10.0, clock=lambda: next(clock_s))
    assert [backoff.next_pause_s() for _ in range(100)][-1] == 10.0
