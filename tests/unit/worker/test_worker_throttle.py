from ops_system.worker.throttle import BURST_S, LARGEST_PIECE_BYTES, SMALLEST_PIECE_BYTES, Throttle


def test_no_limit_never_waits():
    free = Throttle(0)
    assert (free.piece_bytes, free.take(10**9, 0.0)) == (LARGEST_PIECE_BYTES, 0.0)


def test_a_taker_that_waits_as_told_keeps_the_rate():
    rate, now_s, taken = 1_000_000, 100.0, 0
    throttle = Throttle(rate)
    while now_s < 110.0:
        now_s += throttle.take(throttle.piece_bytes, now_s)
        taken += throttle.piece_bytes
    assert 0.95 * rate <= taken / (now_s - 100.0) <= 1.06 * rate


def test_two_takers_share_the_rate():
    throttle = Throttle(100_000)
    due_s = [0.0, 0.0]
    taken = [0, 0]
    while min(due_s) < 20.0:
        who = due_s.index(min(due_s))
        due_s[who] += throttle.take(25_000, due_s[who])
        taken[who] += 25_000
    assert sum(taken) <= 1.1 * 100_000 * max(due_s)
    assert min(taken) > 0.4 * sum(taken)


def test_rest_gives_no_more_than_a_burst():
    throttle = Throttle(100_000)
    throttle.take(1, 0.0)
    burst = int(100_000 * BURST_S)
    assert throttle.take(burst, 1000.0) == 0.0
    assert throttle.take(100_000, 1000.0) == 1.0


def test_pieces_fit_the_rate():
    assert Throttle(1000).piece_bytes == SMALLEST_PIECE_BYTES
    assert Throttle(10**12).piece_bytes == LARGEST_PIECE_BYTES
