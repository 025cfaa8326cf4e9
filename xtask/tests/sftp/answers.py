"""Sends requests to an sftp-server, and prints each reply and its effects on the files.

answers.py SERVER DIRECTORY QUESTIONS. Two servers in the same directory must cause the same output, so that neither the text of a
status nor the current time is printed. Only the standard library is used, so that the bytes on the wire are known.
"""

import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
from itertools import chain

OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = range(3, 13)
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(13, 21)
EXTENDED = 200
R, W, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32
NOTHING = b"\0\0\0\0"


def number(value):
    return struct.pack(">I", value)


def offset(value):
    return struct.pack(">Q", value)


def string(value):
    return number(len(value)) + value


def size(value):
    return number(1) + offset(value)


def owner(uid, gid):
    return number(2) + number(uid) + number(gid)


def mode(value):
    return number(4) + number(value)


def times(accessed, modified):
    return number(8) + number(accessed) + number(modified)


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, count):
        assert count <= len(self.data), "the reply is cut off"
        part, self.data = self.data[:count], self.data[count:]
        return part

    def number(self):
        return struct.unpack(">I", self.take(4))[0]

    def long(self):
        return struct.unpack(">Q", self.take(8))[0]

    def string(self):
        return self.take(self.number())

    def attributes(self):
        flags = self.number()
        said = []
        if flags & 1:
            said.append(f"size {self.long()}")
        if flags & 2:
            said.append(f"owner {self.number()}:{self.number()}")
        if flags & 4:
            permissions = self.number()
            if stat.S_ISDIR(permissions):
                # The size of a directory depends on the file system, not on the server.
                said = said[1:]
            said.append(f"mode {permissions:o}")
        if flags & 8:
            said.append(f"times {moment(self.number())} {moment(self.number())}")
        assert flags & ~15 == 0, f"flags {flags:x}"
        return " ".join(said)


def moment(seconds):
    return "now" if abs(time.time() - seconds) < 600 else str(seconds)


class Server:
    def __init__(self, path, directory):
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        self.socket = ours
        self.process = subprocess.Popen(
            [path], stdin=theirs, stdout=theirs, cwd=directory, env={"TZ": "UTC"}
        )
        theirs.close()
        self.id = 0
        self.send(b"\1" + number(3))
        version = self.receive()
        assert version[:5] == b"\2" + number(3), version

    def send(self, packet):
        self.socket.sendall(string(packet))

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "the server ended"
            data += part
        return data

    def receive(self):
        return self.exactly(struct.unpack(">I", self.exactly(4))[0])

    def raw(self, kind, *fields):
        """Sends a request; returns the reply's type, and a reader of the fields after the ID."""
        self.id += 1
        self.send(bytes([kind]) + number(self.id) + b"".join(fields))
        reply = Reader(self.receive())
        kind = reply.take(1)[0]
        assert reply.number() == self.id, "the reply has another ID than the request"
        return kind, reply

    def ask(self, kind, *fields):
        """Sends a request; returns the reply as text. A handle in the reply is closed."""
        kind, reply = self.raw(kind, *fields)
        if kind == 101:
            code = reply.number()
            reply.string(), reply.string()
            said = f"status {code}"
        elif kind == 102:
            self.raw(CLOSE, string(reply.string()))
            said = "a handle"
        elif kind == 103:
            said = f"data {reply.string()[:80]!r}"
        elif kind == 104:
            said = ""
            for _ in range(reply.number()):
                name, longname = reply.string(), reply.string()
                said += f"name {name!r} {longname!r} {reply.attributes()} "
        elif kind == 105:
            said = f"attributes {reply.attributes()}"
        else:
            # statvfs: only the fields that do not depend on the free space.
            numbers = [reply.long() for _ in range(11)]
            said = f"reply {[numbers[at] for at in (0, 1, 2, 8, 9, 10)]}"
        assert not reply.data, f"{len(reply.data)} surplus bytes in the reply"
        return said.strip()

    def handle(self, path, flags, attributes=NOTHING):
        kind, reply = self.raw(OPEN, string(path), number(flags), attributes)
        assert kind == 102, f"cannot open {path}"
        return string(reply.string())

    def end(self):
        self.socket.close()
        return self.process.wait(20)


def extended(name, *fields):
    return (EXTENDED, string(name), *fields)


def looking(path):
    """All requests for one path that change nothing."""
    name = string(path)
    yield "lstat", LSTAT, name
    yield "stat", STAT, name
    yield "opendir", OPENDIR, name
    yield "realpath", REALPATH, name
    yield "expand", *extended(b"expand-path@openssh.com", name)
    yield "readlink", READLINK, name
    yield "statvfs", *extended(b"statvfs@openssh.com", name)


def changing(path):
    """All requests for one path that may change something."""
    name = string(path)
    for flags in (R, W, R | W, W | APPEND, W | CREATE, W | CREATE | TRUNCATE, W | CREATE | EXCLUSIVE, W | TRUNCATE):
        yield f"open {flags}", OPEN, name, number(flags), NOTHING
    yield "open as 640", OPEN, name, number(R | W | CREATE), mode(0o640)
    yield "truncate", SETSTAT, name, size(3)
    yield "lengthen", SETSTAT, name, size(5000)
    yield "chmod", SETSTAT, name, mode(0o604)
    yield "chmod with type", SETSTAT, name, mode(0o100604)
    yield "times", SETSTAT, name, times(1_000_000_000, 1_100_000_000)
    yield "late times", SETSTAT, name, times(3_000_000_000, 4_294_967_295)
    yield "chown", SETSTAT, name, owner(os.getuid(), os.getgid())
    yield "chown away", SETSTAT, name, owner(1, 1)
    yield "nothing", SETSTAT, name, NOTHING
    for what, attributes in (("chmod", mode(0o604)), ("times", times(5, 6)), ("size", size(1))):
        yield f"link {what}", *extended(b"lsetstat@openssh.com", name, attributes)
    yield "link chown", *extended(b"lsetstat@openssh.com", name, owner(os.getuid(), os.getgid()))
    yield "remove", REMOVE, name
    yield "rmdir", RMDIR, name
    yield "mkdir", MKDIR, name, NOTHING
    yield "mkdir as 1705", MKDIR, name, mode(0o1705)
    for there in (b"new", b"file", b"dir", b"empty", b"soft", b"no/new", path):
        to = string(there)
        yield f"rename to {there}", RENAME, name, to
        yield f"rename from {there}", RENAME, to, name
        yield f"posix-rename to {there}", *extended(b"posix-rename@openssh.com", name, to)
        yield f"hardlink to {there}", *extended(b"hardlink@openssh.com", name, to)
        yield f"hardlink from {there}", *extended(b"hardlink@openssh.com", to, name)
    yield "symlink", SYMLINK, string(b"some/where"), name
    yield "symlink to it", SYMLINK, name, string(b"new")


PATHS = [
    b"file", b"dir", b"empty", b"soft", b"way", b"broken", b"loop", b"fifo", b"locked", b"closed",
    b"dir/inner", b"dir/../file", b"new", b"no/new", b"file/new", b"way/inner", b"way/new", b"broken/new",
    b"./file", b"x" * 255,
]
# Requests for these paths may have several errors; servers differ in which one they report.
ODD = [
    b"closed/file", b"loop/new", b".", b"..", b"dir/", b"dir/.", b"dir/..", b"file/", b"soft/", b"way/", b"new/",
    b"x" * 256, b"/".join([b"x"] * 2500),
]
# For the host's root, only requests that change nothing, because the user may be root.
ROOTS = [b"/", b"//", b"/..", b"/.", b"/no/where", b"/../.."]


def build(directory):
    for place in (directory, os.path.dirname(directory)):
        # Restores owner, mode and times that requests for "." and ".." may have changed.
        if os.stat(place).st_uid in (os.getuid(), 1) and os.access(place, os.W_OK):
            os.chown(place, os.getuid(), os.getgid())
            os.chmod(place, 0o755)
            os.utime(place)
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, 0o755)
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    os.makedirs(f"{directory}/dir")
    os.mkdir(f"{directory}/empty")
    for name, content in (("file", "some content\n"), ("dir/inner", "inner"), ("locked", "no")):
        with open(f"{directory}/{name}", "w") as file:
            file.write(content)
        os.utime(f"{directory}/{name}", (1_200_000_000, 1_300_000_000))
    os.chmod(f"{directory}/locked", 0)
    os.mkdir(f"{directory}/closed", 0)
    os.mkfifo(f"{directory}/fifo")
    for target, name in (("file", "soft"), ("dir", "way"), ("no/where", "broken"), ("loop", "loop")):
        os.symlink(target, f"{directory}/{name}")


def tree(directory):
    """Metadata of all objects; current times are replaced."""
    lines = []
    for place in (directory, os.path.dirname(directory)):
        of = os.stat(place)
        lines.append(f"{place} {of.st_mode:o} {of.st_uid}:{of.st_gid} {moment(int(of.st_mtime))}")
    for at, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(at, name)
            short = os.path.relpath(path, directory)[:100]
            try:
                of = os.lstat(path)
            except PermissionError:
                lines.append(f"{short} is out of reach")
                continue
            link = os.readlink(path) if stat.S_ISLNK(of.st_mode) else ""
            length = "" if stat.S_ISDIR(of.st_mode) else of.st_size
            who = f"{of.st_uid}:{of.st_gid}"
            lines.append(f"{short} {of.st_mode:o} {of.st_nlink} {who} {length} {moment(int(of.st_mtime))} {link}")
    return sorted(lines)


def on_purpose(directory, path, what, kind, *fields):
    """True if our server differs intentionally, or OpenSSH's would block."""
    full = os.path.join(directory.encode(), path)
    if kind == OPEN and path == b"fifo":
        # OpenSSH's server blocks in open until the FIFO has a peer.
        return True
    if what == "open 1" and os.path.isdir(full):
        # OpenSSH's server opens a directory, but cannot READ from the handle.
        return True
    if what == "link chmod" and os.path.islink(full):
        # Linux has no modes of links; our server replies OP_UNSUPPORTED instead of FAILURE.
        return True
    if what in ("truncate", "lengthen") and path == b"fifo":
        return True
    if what in ("realpath", "expand") and path in (b"file/", b"soft/"):
        # A path with a trailing slash must name a directory.
        return True
    # RENAME onto a broken link: OpenSSH's server checks with stat and takes the name as free.
    return kind == RENAME and fields[1] in (string(b"broken"), string(b"loop"))


def paths(server, directory):
    build(directory)
    before = tree(directory)
    for path in ROOTS:
        for what, *request in looking(path):
            # Without times, because other programs change the root directory.
            print(path, what, server.ask(*request).partition(" times ")[0])
    print("nothing is here", server.ask(REALPATH, string(b"")))
    for path in PATHS + ODD:
        for what, *request in chain(looking(path), changing(path)):
            if on_purpose(directory, path, what, *request):
                continue
            said = server.ask(*request)
            if path in ODD and said in ("status 2", "status 3", "status 4", "status 5"):
                said = "no"
            print(path[:20], what, said)
            after = tree(directory)
            if after != before:
                for line in sorted(set(after) ^ set(before)):
                    print("   ", "is" if line in after else "was", line)
                build(directory)
    # A chain of 32 links, as many as OpenSSH's server follows.
    for number in range(32):
        os.symlink(f"link{number + 1}" if number < 31 else "file", f"{directory}/link{number}")
    for path in (b"link0", b"link20"):
        for what, *request in looking(path):
            print(path, what, server.ask(*request))


def handles(server, directory):
    """All requests with a handle."""
    build(directory)
    name = string(b"file")
    reading, writing = server.handle(b"file", R), server.handle(b"file", W)
    both, end = server.handle(b"both", R | W | CREATE), server.handle(b"file", W | APPEND)
    server.ask(WRITE, both, offset(0), string(b"both ends of it"))
    listing = string(server.raw(OPENDIR, string(b"dir"))[1].string())
    gone = server.handle(b"gone", R | W | CREATE)
    os.unlink(f"{directory}/gone")
    closed = server.handle(b"file", R)
    server.raw(CLOSE, closed)
    named = {
        "reading": reading, "writing": writing, "both": both, "end": end, "listing": listing, "gone": gone,
        "closed": closed, "empty": string(b""), "long": string(b"x" * 256), "wrong": string(b"\xff\xff\xff\xff"),
    }
    # Not compared: requests whose handle and offset are both invalid, requests that can be carried out in part, and impossible
    # copies, for which OpenSSH's server reports success.
    either = {
        "reading": ("write too far out", "all", "copy from both"),
        "writing": ("read nothing", "read too far out", "copy to both"),
        "end": ("read nothing", "read too far out", "write too far out", "copy to both"),
    }
    for which, handle in named.items():
        for what, *request in (
            ("fstat", FSTAT, handle),
            ("read", READ, handle, offset(0), number(5)),
            ("read nothing", READ, handle, offset(0), number(0)),
            ("read at the end", READ, handle, offset(13), number(5)),
            ("read far out", READ, handle, offset(1 << 40), number(5)),
            ("read too far out", READ, handle, offset(1 << 63), number(5)),
            ("write", WRITE, handle, offset(4), string(b"WROTE")),
            ("write nothing", WRITE, handle, offset(4), string(b"")),
            ("write beyond", WRITE, handle, offset(50), string(b"beyond")),
            ("write too far out", WRITE, handle, offset((1 << 63) - 2), string(b"beyond")),
            ("truncate", FSETSTAT, handle, size(30)),
            ("chmod", FSETSTAT, handle, mode(0o604)),
            ("times", FSETSTAT, handle, times(7, 8)),
            ("chown", FSETSTAT, handle, owner(os.getuid(), os.getgid())),
            ("all", FSETSTAT, handle, number(13) + offset(20) + number(0o600) + number(9) + number(10)),
            ("fstatvfs", *extended(b"fstatvfs@openssh.com", handle)),
            ("fsync", *extended(b"fsync@openssh.com", handle)),
            ("copy to both", *extended(b"copy-data", handle, offset(2), offset(6), both, offset(0))),
            ("copy from both", *extended(b"copy-data", both, offset(0), offset(3), handle, offset(9))),
            ("copy all to both", *extended(b"copy-data", handle, offset(0), offset(0), both, offset(40))),
            ("copy to itself", *extended(b"copy-data", handle, offset(0), offset(3), handle, offset(9))),
        ):
            if what not in either.get(which, ()):
                print(which, what, server.ask(*request))
        if which != "listing":
            print(which, "readdir", server.ask(READDIR, handle))
    build(directory)
    for line in tree(directory):
        print("   ", line)
    for which, handle in named.items():
        print("close", which, server.ask(CLOSE, handle))
        print("close again", which, server.ask(CLOSE, handle))
    large = server.handle(b"large", R | W | CREATE)
    os.truncate(f"{directory}/large", 1_000_000)
    for length in (32768, 261_119, 261_120, 261_121, 1 << 20, (1 << 32) - 1):
        kind, reply = server.raw(READ, large, offset(0), number(length))
        print("large", length, kind, len(reply.string()))


def listing(server, directory):
    """Names, long names and attributes from READDIR, READLINK and REALPATH."""
    names = []
    kind, reply = server.raw(OPENDIR, string(directory.encode()))
    assert kind == 102
    handle = string(reply.string())
    while True:
        kind, reply = server.raw(READDIR, handle)
        if kind == 101:
            print("the end with status", reply.number())
            break
        count = reply.number()
        assert count > 0, "an empty reply"
        for _ in range(count):
            name, longname = reply.string(), reply.string()
            names.append(f"{name!r} {longname!r} {reply.attributes()}")
    print("readdir after the end", server.ask(READDIR, handle))
    assert len(names) == len(set(names))
    for line in sorted(names):
        print(line)


if __name__ == "__main__":
    _, path, directory, questions = sys.argv
    os.umask(0o022)
    server = Server(path, directory)
    {"paths": paths, "handles": handles, "listing": listing}[questions](server, directory)
    print("ended with", server.end())
