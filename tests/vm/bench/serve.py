"""Small servers that run inside a bench namespace, started by file name: python serve.py WHAT ARGUMENTS.

serve.py production ADDRESS PORT SEEN   answers every TCP connection, and appends to the file SEEN each new
                                        source MAC address that the production network carries to it
serve.py repository ADDRESS PORT TREE   serves a folder over HTTP
"""

import functools
import http.server
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from pathlib import Path

ETH_P_ALL = 3  # linux/if_ether.h
OUTGOING = 4  # PACKET_OUTGOING, linux/if_packet.h


class Production(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"production\n")


class Threading(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


def listen(seen: Path) -> None:
    """A machine that boots asks for an address by broadcast: here it is heard."""
    known: set[str] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as packets:
        while True:
            frame, origin = packets.recvfrom(64)
            mac = frame[6:12].hex(":")
            if origin[0] != "lo" and origin[2] != OUTGOING and mac not in known:
                known.add(mac)
                with seen.open("a") as file:
                    file.write(f"{mac}\n")


def main(what: str, address: str, port: str, place: str) -> None:
    handler: Callable[..., socketserver.BaseRequestHandler] = Production
    if what == "production":
        threading.Thread(target=listen, args=(Path(place),), daemon=True).start()
    else:
        handler = functools.partial(Quiet, directory=place)
    with Threading((address, int(port)), handler) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
