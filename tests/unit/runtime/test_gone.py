import socket

import pytest

from ops_system.runtime.gone import notice_silence


@pytest.mark.parametrize(("gone_after_s", "idle_s", "between_s"), [(60.0, 30, 10), (2.0, 1, 1), (9.6, 4, 2)])
def test_probes_fit_into_the_time_a_peer_may_be_silent(gone_after_s, idle_s, between_s):
    with socket.socket() as made:
        notice_silence(made, gone_after_s)
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        told = [made.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}")) for name in ("IDLE", "INTVL")]
        assert told == [idle_s, between_s]
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == round(gone_after_s * 1000)


def test_a_socket_without_tcp_is_left_alone():
    near, far = socket.socketpair()
    with near, far:
        notice_silence(near)
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
