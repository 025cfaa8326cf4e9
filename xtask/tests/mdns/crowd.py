"""Answers for as many services of one type as are asked for, all on one host, with no hurry: python-zeroconf's own answers."""

import socket
import sys
import time

from zeroconf import ServiceInfo, Zeroconf

kind, count = f"{sys.argv[1]}.local.", int(sys.argv[2])
net = Zeroconf(interfaces=["192.0.2.1"])
for number in range(count):
    # Neither probed nor announced, which for a thousand of them would take an hour: it is there, and answers.
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
