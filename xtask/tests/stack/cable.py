"""A cable with faults, from a TAP interface to a socket file that frames go through as QEMU and passt send them.

Of a hundred frames each way so many are lost, so many come twice, so many come after the next one.
"""
import fcntl
import os
import random
import select
import socket
import struct
import sys

name, path, percent, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
TUNSETIFF, TAP_WITHOUT_HEADER = 0x400454CA, 0x1002
chance = random.Random(seed)


class Direction:
    """Frames that go one way, and the one that is held back."""

    def __init__(self, send):
        self.send, self.held = send, []

    def carry(self, frame):
        happens = [chance.randrange(100) < percent for _ in range(3)]
        if happens[0]:
            return
        if happens[2] and not self.held:
            self.held.append(frame)
            return
        for _ in range(1 + happens[1]):
            self.send(frame)
        self.release()

    def release(self):
        while self.held:
            self.send(self.held.pop())


tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP_WITHOUT_HEADER))
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("ready", flush=True)
stream, _ = listener.accept()
to_stream = Direction(lambda frame: stream.sendall(struct.pack(">I", len(frame)) + frame))
to_tap = Direction(lambda frame: os.write(tap, frame))
received = b""
while True:
    # What is held back while nothing follows comes late.
    ready, _, _ = select.select([tap, stream], [], [], 0.005)
    if not ready:
        to_stream.release()
        to_tap.release()
    if tap in ready:
        to_stream.carry(os.read(tap, 65536))
    if stream in ready:
        more = stream.recv(65536)
        if not more:
            sys.exit()
        received += more
        while len(received) >= 4:
            end = 4 + struct.unpack(">I", received[:4])[0]
            if len(received) < end:
                break
            to_tap.carry(received[4:end])
            received = received[end:]
