"""A WireGuard server in the kernel, which the guest's has."""

from __future__ import annotations

from tests.netns.servers import Wireguard


class KernelWireguard(Wireguard):
    """The server without a program of its own."""

    def make_device(self) -> None:
        self.gateway.run("ip", "link", "add", self.device, "type", "wireguard")
