"""Answers queries by python-zeroconf for a given number of services of one type on one host: crowd.py TYPE COUNT."""

import socket
import sys
import time

from zeroconf import ServiceInfo, Zeroconf

kind, count = f"{sys.argv[1]}.local.", int(sys.argv[2])
net = Zeroconf(interfaces=["192.0.2.1"])
for number in range(count):
    # Registered without probes and announcements, which would take an hour for a thousand services; queries are answered.
    net.registry.async_add(
        ServiceInfo(
            kind,
            f"Service {number:04}.{kind}",
            addresses=[socket.inet_aton("192.0.2.1")],
            port=1024 + number,
            properties={"number": str(number)},
            server="crowd.local.",
        )
    )
print("ready", flush=True)
time.sleep(600)
