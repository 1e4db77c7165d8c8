"""What waits to be sent on one link, and in which order. Sans-I/O; `runtime.link` empties it.

    control   commands, events, answers, acks: first come first served, never dropped; too many bytes end the link
    state     Report, Progress: only the newest per instance
    samples   Sample: the newest `MAX_SAMPLES`; the oldest are dropped and counted in the next one sent
    stream    StreamData and the StreamClose behind it: in order per stream, streams take turns

A class is served only while the ones above it are empty.
"""

from collections import OrderedDict, deque

import msgspec

from ops_system.protocol.codec import Frame, encode
from ops_system.protocol.frames import Progress, Report, Sample, StreamClose, StreamData

MAX_CONTROL_BYTES = 16 * 1024 * 1024
MAX_SAMPLES = 60


class Outbox:
    """The frames one end of a link still has to send."""

    def __init__(self, max_control_bytes: int = MAX_CONTROL_BYTES, max_samples: int = MAX_SAMPLES) -> None:
        self._max_control_bytes = max_control_bytes
        self._max_samples = max_samples
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._state: OrderedDict[tuple[type, str], Report | Progress] = OrderedDict()
        self._samples: deque[Sample] = deque()
        self._streams: OrderedDict[int, deque[StreamData | StreamClose]] = OrderedDict()
        self._dropped_unsaid = 0
        self.dropped_samples = 0

    @property
    def is_overfull(self) -> bool:
        """Whether the peer reads too slowly for what must not be dropped: end the link."""
        return self._control_bytes > self._max_control_bytes

    @property
    def has_control(self) -> bool:
        """Whether something waits that must not be lost."""
        return bool(self._control)

    def __bool__(self) -> bool:
        return bool(self._control or self._state or self._samples or self._streams)

    def put(self, frame: Frame) -> None:
        """Queue a frame by its class. Raises `Invalid` for a control frame that is too large for the link."""
        match frame:
            case Report():
                self._put_state(frame.report.instance_id, frame)
            case Progress():
                self._put_state(frame.progress.instance_id, frame)
            case Sample():
                self._put_sample(frame)
            case StreamData() | StreamClose():
                self._streams.setdefault(frame.stream_id, deque()).append(frame)
            case _:
                data = encode(frame)
                self._control.append(data)
                self._control_bytes += len(data)

    def take(self) -> bytes | None:
        """Return the next bytes to send, None when nothing waits. Raises `Invalid` for a frame above the limit."""
        if self._control:
            data = self._control.popleft()
            self._control_bytes -= len(data)
            return data
        if self._state:
            return encode(self._state.popitem(last=False)[1])
        if self._samples:
            return encode(self._take_sample())
        if self._streams:
            return encode(self._take_stream())
        return None

    def discard_stream(self, stream_id: int) -> None:
        """Throw away what waits for a stream that the peer has closed."""
        self._streams.pop(stream_id, None)

    def _put_state(self, instance_id: str, frame: Report | Progress) -> None:
        """The newer picture takes the older one's place in the queue, so that a busy instance does not starve."""
        self._state[type(frame), instance_id] = frame

    def _put_sample(self, frame: Sample) -> None:
        self._samples.append(frame)
        if len(self._samples) > self._max_samples:
            self._dropped_unsaid += 1 + self._samples.popleft().dropped
            self.dropped_samples += 1

    def _take_sample(self) -> Sample:
        sample = self._samples.popleft()
        if self._dropped_unsaid:
            sample = msgspec.structs.replace(sample, dropped=sample.dropped + self._dropped_unsaid)
            self._dropped_unsaid = 0
        return sample

    def _take_stream(self) -> StreamData | StreamClose:
        stream_id, waiting = self._streams.popitem(last=False)
        frame = waiting.popleft()
        if waiting:
            self._streams[stream_id] = waiting
        return frame
