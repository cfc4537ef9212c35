"""Whether everything turns."""

from marketd.pulse import Pulse


def test_the_loop_that_has_not_turned_for_longest_counts() -> None:
    now = [100.0]
    pulse = Pulse(lambda: now[0])
    assert pulse.age_s() == 0
    pulse.beat("loop")
    pulse.beat("bitfinex")
    now[0] += 50
    pulse.beat("loop")
    assert pulse.age_s() == 50
    assert pulse.stuck(40) == ["bitfinex"]
    assert pulse.stuck(60) == []


def test_a_loop_at_rest_is_not_waited_for() -> None:
    now = [0.0]
    pulse = Pulse(lambda: now[0])
    pulse.beat("bitfinex")
    now[0] += 50
    pulse.rest("bitfinex")
    pulse.rest("never seen")
    assert (pulse.age_s(), pulse.stuck(1)) == (0, [])
