from datetime import UTC, timedelta

from ops_system.runtime.clock import Clock, SystemClock
from tests.fakes.clock import FakeClock


def test_the_system_clock_is_aware_and_moves_forward():
    clock: Clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic_s() <= clock.monotonic_s()


def test_the_fake_moves_when_told_and_a_jump_takes_no_time():
    clock: Clock = FakeClock()
    start, began_s = clock.now(), clock.monotonic_s()
    clock.advance(5)
    clock.jump(-3 * 86400)
    assert clock.monotonic_s() - began_s == 5
    assert clock.now() - start == timedelta(seconds=5, days=-3)
