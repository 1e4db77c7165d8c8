import pytest

from ops_system.installer.guard import Guard, Halt


class Time:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def guard(time):
    guard = Guard(time)
    guard.renew(0.0, 30.0, 0)
    guard.begin(3)
    return guard


def reason(guard, check="check"):
    with pytest.raises(Halt) as caught:
        getattr(guard, check)()
    return caught.value.code


def test_a_lease_is_good_from_when_it_was_asked(guard, time):
    time.now_s = 29.9
    guard.check()
    guard.renew(15.0, 30.0, 3)
    time.now_s = 44.9
    guard.check_step()
    time.now_s = 45.0
    assert reason(guard) == "lease_lost"


def test_lost_is_lost_even_when_the_region_comes_back(guard, time):
    time.now_s = 31.0
    assert reason(guard) == "lease_lost"
    guard.renew(31.0, 30.0, 3)
    assert reason(guard) == "lease_lost"
    guard.begin(4)
    guard.check()


def test_a_higher_fence_stops_and_a_lower_one_does_not(guard):
    guard.renew(0.0, 30.0, 2)
    guard.check()
    guard.renew(0.0, 30.0, 4)
    assert reason(guard) == "stale_fence"


def test_a_refusal_stops(guard):
    guard.lose("two_agents", "another one")
    assert reason(guard) == "two_agents"


def test_a_cancel_stops_the_next_step_not_this_one(guard):
    guard.renew(0.0, 30.0, 3, is_cancel_asked=True)
    guard.check()
    assert reason(guard, "check_step") == "cancelled"
