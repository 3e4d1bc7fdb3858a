"""Messages to systemd (sd_notify(3)); does nothing where systemd does not listen."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Send one state, for example ``READY=1`` or ``WATCHDOG=1``."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message.encode(), address)


def watchdog_interval_s() -> float | None:
    """Return how often systemd wants a sign of life, halved as sd_watchdog_enabled(3) advises."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() else None
