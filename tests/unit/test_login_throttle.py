"""Guesses are counted when they begin: many at once get no more than the same number one by one."""

import pytest

from controlplane.access.throttle import LoginThrottle
from controlplane.errors import RateLimitedError


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def begun(throttle: LoginThrottle, attempts: int) -> int:
    """How many of `attempts`, none of which has ended, were let through."""
    through = 0
    for _ in range(attempts):
        try:
            throttle.begin("ada@example.com", "198.51.100.7", "device")
        except RateLimitedError:
            continue
        through += 1
    return through


def test_of_sixty_at_once_five_are_checked() -> None:
    time = Time()
    throttle = LoginThrottle(time)
    assert begun(throttle, 60) == 5
    time.now += 1.0
    assert begun(throttle, 60) == 1
    time.now += 1.0
    assert begun(throttle, 60) == 0
    time.now += 1.0
    assert begun(throttle, 60) == 1


def test_the_right_password_takes_everything_back() -> None:
    throttle = LoginThrottle(Time())
    assert begun(throttle, 4) == 4
    throttle.succeeded("ada@example.com", "198.51.100.7", "device")
    assert begun(throttle, 60) == 5


def test_who_is_refused_is_not_counted_again() -> None:
    """Somebody who tries while they must wait does not wait longer for it."""
    time = Time()
    throttle = LoginThrottle(time)
    begun(throttle, 1_000)
    with pytest.raises(RateLimitedError, match="1 second"):
        throttle.begin("ada@example.com", "198.51.100.7", "device")
