"""Builds the cage's walls, from inside its own process: file system, privileges, system calls, limits.

Runs inside the cage, before the text of ``_cage.py`` (which see).
"""
# ruff: noqa: PTH103, PTH106, PTH112, PTH114, PTH115, PTH120, PTH211, SIM105

import ctypes
import os
import resource
import signal
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_NODIRATIME = 1, 2, 4, 8, 1024, 2048
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 32, 4096, 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

libc = ctypes.CDLL(None, use_errno=True)


def must(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    def raw(text: str | None) -> bytes | None:
        return text.encode() if text is not None else None

    must(libc.mount(raw(source), raw(target), raw(kind), ctypes.c_ulong(flags), raw(data)), f"mount {target}")


def bind_read_only(source: str, target: str) -> None:
    mount(source, target, flags=MS_BIND | MS_REC)
    # A mount that came with nosuid, nodev … must keep them: without privileges, dropping one is refused.
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
    mount(None, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def build_root(new: str, visible: list[str]) -> None:
    """A root of our own at ``new``: the folders a Python needs, read-only, and an empty /tmp. Nothing else."""
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", new, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    # Before what is bound: a Python that lies under /tmp must stay in sight.
    os.makedirs(f"{new}/tmp")
    mount("tmpfs", f"{new}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,mode=1777")
    for path in visible:
        place = new + path
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), place)
        elif os.path.isdir(path):
            os.makedirs(place, exist_ok=True)
            bind_read_only(path, place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_RDONLY, 0o644))
            bind_read_only(path, place)
    for folder in ("/dev", "/proc", "/.old"):
        os.makedirs(new + folder, exist_ok=True)
    for device in ("null", "zero", "full", "random", "urandom"):
        os.close(os.open(f"{new}/dev/{device}", os.O_CREAT | os.O_RDONLY, 0o666))
        mount(f"/dev/{device}", f"{new}/dev/{device}", flags=MS_BIND)
    os.symlink("/tmp", f"{new}/dev/shm")
    try:
        mount("proc", f"{new}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:
        pass  # a container that masks /proc allows no new one; Python runs without it
    number = SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"no pivot_root number known for {os.uname().machine}")
    os.chdir(new)
    must(libc.syscall(number, b".", b"./.old"), "pivot_root")
    os.chdir("/")
    must(libc.umount2(b"/.old", MNT_DETACH), "umount of the old root")
    os.rmdir("/.old")
    mount(None, "/", flags=MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def drop_privileges(uid: int) -> None:
    """Give up every capability for good; as real root, also become a user who owns nothing."""
    if os.geteuid() == 0:
        for capability in range(64):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        if uid:
            # Root is exempt from the limit on processes, so a fork flood would run free.
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        must(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    # Changing user clears the parent-death signal; a program whose keeper is killed must not outlive it. It also makes
    # the process undumpable, and the warden could not see its stack.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def refuse_system_calls(code: bytes) -> None:
    """Install a seccomp filter for good (``_warden.py`` compiles it)."""
    buffer = ctypes.create_string_buffer(code, len(code))
    filters = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    must(libc.prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(filters), 0, 0), "seccomp")


def set_limits(job: dict) -> None:
    limits = {
        resource.RLIMIT_AS: job["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: job["output_bytes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: job["processes"],
    }
    # The soft limit sends SIGXCPU, by which the keeper knows why; who ignores it is killed a second later.
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"], job["cpu_s"] + 1))
    for which, value in limits.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(which, (value, value))
        except ValueError:  # macOS refuses a limit on the address space; no cage but "none" runs there
            if os.uname().sysname == "Linux":
                raise
