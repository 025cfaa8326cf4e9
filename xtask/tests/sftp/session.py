"""A session of paramiko: session.py PORT USER KEY KNOWN_HOSTS PART. The first failed check ends the program."""

import errno
import hashlib
import io
import os
import random
import stat
import sys
import time
import zlib

import paramiko


def refused(number, function, *arguments):
    """Checks that the call fails with this errno; paramiko sets only ENOENT and EACCES, otherwise None."""
    try:
        function(*arguments)
    except OSError as error:
        assert error.errno == number, f"{function.__name__}{arguments} failed by {error!r}"
    else:
        raise AssertionError(f"{function.__name__}{arguments} succeeded")


def content(length, seed):
    return random.Random(seed).randbytes(length)


def tour(sftp):
    home = sftp.normalize(".")
    sftp.mkdir("tour", 0o750)
    assert stat.S_IMODE(sftp.stat("tour").st_mode) == 0o750
    sftp.chdir("tour")
    assert sftp.getcwd() == home + "/tour"

    # Whole files by putfo, which checks the size, and getfo, which prefetches; ranges by readv.
    data = content(10_000_019, 1)
    sftp.putfo(io.BytesIO(data), "large")
    back = io.BytesIO()
    sftp.getfo("large", back)
    assert back.getvalue() == data
    with sftp.open("large", "rb") as file:
        wanted = [(5_000_000, 70_000), (0, 1), (9_999_999, 20), (123, 300_000)]
        for (start, length), chunk in zip(wanted, file.readv(wanted)):
            assert chunk == data[start : start + length], start
        file.seek(-7, io.SEEK_END)
        assert file.read() == data[-7:]
        assert file.stat().st_size == len(data)

    # Random reads, writes and truncations, compared with a copy in memory.
    chance = random.Random(2)
    model = bytearray()
    with sftp.open("random", "w+b") as file:
        for step in range(300):
            start = chance.randrange(200_000)
            length = chance.randrange(1, 60_000)
            what = chance.choice(("read", "read", "write", "write", "truncate"))
            if what == "read":
                file.seek(start)
                assert file.read(length) == model[start : start + length], step
            elif what == "write":
                piece = chance.randbytes(length)
                model.extend(bytes(max(0, start - len(model))))
                model[start : start + length] = piece
                file.seek(start)
                file.write(piece)
                file.flush()
            else:
                file.truncate(start)
                model = (model + bytes(max(0, start - len(model))))[:start]
            assert file.stat().st_size == len(model), step
    with sftp.open("random", "rb") as file:
        assert file.read() == model

    # Offsets beyond 4 GiB.
    far = (5 << 30) + 3
    with sftp.open("sparse", "w+b") as file:
        file.seek(far)
        file.write(b"far out")
        file.flush()
        file.seek(far)
        assert file.read(100) == b"far out"
        file.seek(far - 4)
        assert file.read(4) == b"\0\0\0\0"
        file.truncate(6 << 30)
    assert sftp.stat("sparse").st_size == 6 << 30
    sftp.remove("sparse")

    with sftp.open("log", "a") as file:
        file.write("one\n")
    with sftp.open("log", "a") as file:
        file.write("two\n")
    with sftp.open("log", "r") as file:
        assert list(file) == ["one\n", "two\n"]
    refused(None, sftp.open, "log", "wx")
    refused(errno.ENOENT, sftp.open, "nothing", "r")
    refused(errno.EACCES, sftp.open, "/etc/shadow", "r")
    refused(errno.EACCES, sftp.mkdir, "/etc/x")

    # RENAME does not replace a file, posix-rename does.
    for name in ("renamed", "other"):
        with sftp.open(name, "w") as file:
            file.write(name)
    refused(None, sftp.rename, "other", "renamed")
    sftp.rename("other", "moved")
    sftp.posix_rename("moved", "renamed")
    with sftp.open("renamed", "w") as file:
        file.write("replaced")
    assert "moved" not in sftp.listdir()

    sftp.symlink("renamed", "soft")
    assert sftp.readlink("soft") == "renamed"
    assert stat.S_ISLNK(sftp.lstat("soft").st_mode)
    assert stat.S_ISREG(sftp.stat("soft").st_mode)
    assert sftp.normalize("soft") == home + "/tour/renamed"

    sftp.chmod("renamed", 0o604)
    sftp.utime("renamed", (1_000_000_000, 1_100_000_000))
    sftp.truncate("log", 2)
    of = sftp.stat("renamed")
    sftp.chown("renamed", of.st_uid, of.st_gid)
    of = sftp.stat("renamed")
    assert stat.S_IMODE(of.st_mode) == 0o604
    assert (of.st_atime, of.st_mtime) == (1_000_000_000, 1_100_000_000)
    assert sftp.stat("log").st_size == 2
    refused(errno.EACCES, sftp.chown, "renamed", 0, 0)
    with sftp.open("log", "r+") as file:
        file.chmod(0o640)
        file.utime((5, 6))
    assert stat.S_IMODE(sftp.stat("log").st_mode) == 0o640

    # Graphical clients parse lines such as "-rw----r--    1 guest    guest           8 Sep  9  2001 renamed".
    longname = {of.filename: of.longname for of in sftp.listdir_attr()}["renamed"]
    words = longname.split()
    assert words[0] == "-rw----r--" and words[2:4] == ["guest", "guest"], longname
    assert words[4:] == ["8", "Nov", "9", "2004", "renamed"], longname

    sftp.remove("soft")
    sftp.mkdir("empty")
    sftp.rmdir("empty")
    refused(errno.ENOENT, sftp.rmdir, "empty")
    refused(None, sftp.rmdir, home + "/tour")


def list_names(sftp):
    for name in sftp.listdir("crowd"):
        print(name)


def check(sftp):
    data = content(3_000_001, 3)
    sftp.putfo(io.BytesIO(data), "checked")
    functions = {
        "md5": lambda part: hashlib.md5(part).digest(),
        "sha1": lambda part: hashlib.sha1(part).digest(),
        "sha256": lambda part: hashlib.sha256(part).digest(),
        "crc32": lambda part: zlib.crc32(part).to_bytes(4, "big"),
    }
    with sftp.open("checked", "rb") as file:
        for name, function in functions.items():
            assert file.check(name) == function(data), name
            for start, length in ((0, 1), (1, 2_000_000), (2_999_999, 2), (1 << 20, 1 << 20)):
                seen = file.check(name, start, length)
                assert seen == function(data[start : start + length]), (name, start, length)
            for block in (256, 1000, 65_536, 1_000_000):
                part = data[500:200_500]
                blocks = [part[at : at + block] for at in range(0, len(part), block)]
                seen = file.check(name, 500, len(part), block)
                assert seen == b"".join(map(function, blocks)), (name, block)
        # The server uses the first algorithm that it supports.
        assert file.check("rot13,sha1,md5") == functions["sha1"](data)
        refused(None, file.check, "rot13")
        refused(None, file.check, "md5", 0, 0, 255)
        # The handle can still be read.
        assert file.read(10) == data[:10]


def main():
    _, port, user, key, known_hosts, part = sys.argv
    ssh = paramiko.SSHClient()
    ssh.load_host_keys(known_hosts)
    ssh.set_missing_host_key_policy(paramiko.RejectPolicy())
    ssh.connect(
        "127.0.0.1", int(port), user, key_filename=key, allow_agent=False, look_for_keys=False
    )
    with ssh, ssh.open_sftp() as sftp:
        sftp.get_channel().settimeout(60)
        {"tour": tour, "list": list_names, "check": check}[part](sftp)


main()
