"""A relay of TCP connections within this process, which sees that the other end has gone before those that talk through it."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(':')
    return host.strip('[]'), int(port)


def reach(address: str) -> None:
    """Waits until somebody listens at HOST:PORT."""
    while True:
        try:
            socket.create_connection(_place(address), timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)


def through(address: str, gone: Callable[[], None]) -> str:
    """HOST:PORT on this machine that leads to the address; gone() is called when that ends a connection, before the near end hears it."""
    listening = socket.create_server(('127.0.0.1', 0))

    def passed_on(source, sink, ended):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        ended()
        for end in (source, sink):
            with contextlib.suppress(OSError):  # the other direction may have been first
                end.shutdown(socket.SHUT_RDWR)  # a close alone waits for the thread that reads there
            end.close()

    def accept():
        while True:
            near, _ = listening.accept()
            try:
                far = socket.create_connection(_place(address), timeout=30)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for one in ((near, far, lambda: None), (far, near, gone)):
                threading.Thread(target=passed_on, args=one, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f'127.0.0.1:{listening.getsockname()[1]}'
