"""How a rule comes to fire on one subject and stops: a pure machine, time is an argument. Used by `watch`, `backtest`.

              breach                    breach for `for_s`
    inactive --------> pending ---------------------------> firing <---------+
        ^                 |                                 |   |  breach    | samples again, still bad
        |  clear, between |          clear                  |   +--> firing  |
        +-----------------+       since keep_firing_for_s   |                |
        +---------------------------------------------------+                |
        |                   (ten minutes while it flaps)    | no samples, policy `firing`
        |                                                   v                |
        +------------------------------------------------ no_data -----------+

`between` the two levels keeps what fires and does not bring it about. `unknown` keeps everything: nobody could look.
No samples count by the rule's policy: `ok` as clear, `keep` as unknown, `firing` as a breach that ends in `no_data`.
Seconds are of any one clock; the master uses the monotonic one.
"""

from enum import StrEnum

import msgspec

from ops_system.model.alerts import AlertState, Policy

FLAP_WINDOW_S = 900.0
FLAP_FIRES = 4  # times fired within the window: it is held
FLAP_HOLD_S = 600.0


class Reading(StrEnum):
    """What one look at a subject says."""

    BREACH = "breach"
    BETWEEN = "between"
    CLEAR = "clear"
    NO_DATA = "no_data"
    UNKNOWN = "unknown"


class Timing(msgspec.Struct, frozen=True):
    """What of a rule steers the machine."""

    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    no_data: Policy = "ok"


class Track(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a rule is on one subject. `state` None: inactive. `fires`: when it began to fire lately."""

    state: AlertState | None = None
    since_s: float = 0.0
    clear_since_s: float | None = None
    fires: tuple[float, ...] = ()

    @property
    def is_open(self) -> bool:
        """It fires, for a breach or for want of data."""
        return self.state in {AlertState.FIRING, AlertState.NO_DATA}

    def is_flapping(self, now_s: float) -> bool:
        """It fired so often lately that its end is held back; what then stays bad for a whole window is steady."""
        until_s = now_s if self.clear_since_s is None else self.clear_since_s
        return self.is_open and len(self.fires) >= FLAP_FIRES and until_s - self.fires[-1] < FLAP_WINDOW_S

    def is_idle(self, now_s: float) -> bool:
        """Nothing of it needs to be remembered."""
        return self.state is None and not _lately(self.fires, now_s)


def step(track: Track, reading: Reading, now_s: float, timing: Timing) -> Track:
    """Return the track after one look; the same object when nothing changed."""
    judged = _judge(reading, timing.no_data)
    if judged is Reading.UNKNOWN:
        return track
    if track.is_open:
        return _step_open(track, judged, now_s, timing)
    if judged not in {Reading.BREACH, Reading.NO_DATA}:
        return track if track.state is None else Track(fires=track.fires)
    since_s = now_s if track.state is None else track.since_s
    if now_s - since_s < timing.for_s:
        return track if track.state is AlertState.PENDING else Track(AlertState.PENDING, now_s, None, track.fires)
    state = AlertState.FIRING if judged is Reading.BREACH else AlertState.NO_DATA
    return Track(state, now_s, None, (*_lately(track.fires, now_s), now_s))


def shift(track: Track, by_s: float) -> Track:
    """Return the track with its times moved: for another clock, or for time that counts for nothing."""
    return Track(
        track.state,
        track.since_s + by_s,
        None if track.clear_since_s is None else track.clear_since_s + by_s,
        tuple(at_s + by_s for at_s in track.fires),
    )


def _judge(reading: Reading, policy: Policy) -> Reading:
    if reading is not Reading.NO_DATA or policy == "firing":
        return reading
    return Reading.CLEAR if policy == "ok" else Reading.UNKNOWN


def _step_open(track: Track, reading: Reading, now_s: float, timing: Timing) -> Track:
    if reading is Reading.BETWEEN and track.state is AlertState.NO_DATA:
        reading = Reading.CLEAR  # samples are back, and they do not breach
    match reading:
        case Reading.CLEAR:
            hold_s = max(timing.keep_firing_for_s, FLAP_HOLD_S if track.is_flapping(now_s) else 0.0)
            since_s = now_s if track.clear_since_s is None else track.clear_since_s
            if now_s - since_s >= hold_s:
                return Track(fires=track.fires)
            return track if track.clear_since_s is not None else msgspec.structs.replace(track, clear_since_s=now_s)
        case Reading.BETWEEN:
            return _again(track, track.state, now_s)
        case Reading.NO_DATA:
            return _again(track, AlertState.NO_DATA, now_s)
        case _:
            return _again(track, AlertState.FIRING, now_s)


def _again(track: Track, state: AlertState | None, now_s: float) -> Track:
    """It goes on; what came back after it was clear counts as having fired once more."""
    if state is track.state and track.clear_since_s is None:
        return track
    is_return = track.clear_since_s is not None
    fires = (*_lately(track.fires, now_s), now_s) if is_return else track.fires
    return Track(state, track.since_s if state is track.state else now_s, None, fires)


def _lately(fires: tuple[float, ...], now_s: float) -> tuple[float, ...]:
    return tuple(at_s for at_s in fires if now_s - at_s < FLAP_WINDOW_S)[-FLAP_FIRES:]
