"""Browses for services of the given types, and prints each one once it is resolved: zeroconf.py TYPE..."""

import sys
import time

from zeroconf import IPVersion, ServiceBrowser, ServiceListener, Zeroconf


class Printer(ServiceListener):
    def add_service(self, net, kind, name):
        info = net.get_service_info(kind, name, timeout=10_000)
        if info is None:
            print(f"? {name}", flush=True)
            return
        texts = ",".join(
            f"{key.decode()}={(value or b'').decode()}"
            for key, value in sorted(info.properties.items())
        )
        addresses = " ".join(sorted(info.parsed_addresses(IPVersion.All)))
        print(f"+ {name} {info.server}:{info.port} [{texts}] {addresses}", flush=True)

    def update_service(self, net, kind, name):
        pass

    def remove_service(self, net, kind, name):
        print(f"- {name}", flush=True)


net = Zeroconf(interfaces=["192.0.2.2"])
ServiceBrowser(net, sys.argv[1:], Printer())
time.sleep(600)
