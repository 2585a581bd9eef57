"""Runs inside the cage: locks the door behind itself, executes one program, reports how it ended.

`sandbox.run_python` hands this file's text to ``python -s -P -S -c``; it is never imported and uses the standard
library alone. Standard input is a file that holds the job as JSON; the report goes to file descriptor
``job["report"]`` and counts only if it repeats the nonce, which waits in the pipe ``job["nonce"]``.

Two processes: the warden forks the one that executes the program. Only the warden ever holds report and nonce, so
nothing that the program finds in its own process lets it forge a verdict. That the program's last line was reached
is told by stopping (SIGSTOP) from the same stack depth as before the program began: whatever the program calls
itself, it calls from deeper, and the kernel tells the warden how deep.
"""
# pathlib and contextlib are not imported: every program run would wait for them.
# ruff: noqa: PTH103, PTH106, PTH112, PTH114, PTH115, PTH120, PTH211, SIM105

import builtins
import ctypes
import json
import os
import resource
import signal
import struct
import sys
import traceback

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_NODIRATIME = 1, 2, 4, 8, 1024, 2048
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 32, 4096, 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
TICK_S, MOST_FILES = 0.05, 20_000
NESTED = compile("exec('exec(code, space)', globals())", "<cage>", "exec")

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
    """Install a seccomp filter for good (``_system_calls.py`` compiles it)."""
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
        resource.setrlimit(which, (value, value))


def execute(job: dict, told: int) -> None:
    """Run the program as a script; tell how it ended through ``told``, and its last line by stopping once more."""
    write, finish, dump, whoami, halt, stop = os.write, os._exit, json.dumps, os.getpid, os.kill, signal.SIGSTOP
    owner, source, status, message = whoami(), job.pop("source"), "failed", ""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    halt(owner, stop)  # from where the end will be told
    exec(NESTED, {"code": "halt(owner, stop)", "space": {"halt": halt, "owner": owner, "stop": stop}})
    try:
        code = compile(source, "<program>", "exec", dont_inherit=True)
        exec(NESTED, {"code": code, "space": {"__name__": "__main__", "__builtins__": builtins}})
        status = "passed"
    except SystemExit as early:
        message = f"SystemExit: the program ended itself early with {early.code!r}"
    except MemoryError:
        status, message = "memory", f"MemoryError: more than {job['memory_mb']} MB"
    except BaseException as error:
        message = "".join(traceback.format_exception_only(type(error), error)).strip()[-500:]
        show(error)
    try:
        sys.stdout.flush()
    except Exception as error:
        message = message or f"output was lost: {error}"
    # A copy that the program forked comes through here as well; only the program itself has a say.
    if whoami() == owner:
        write(told, dump({"status": status, "message": message}).encode())
        if status == "passed":
            halt(owner, stop)
    finish(1)


def show(error: BaseException) -> None:
    """Print the trace from the program's own first frame on: ours are nothing a reader of it needs."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename != "<program>":
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace, limit=-5)


def judge(program: int, heard: int, job: dict) -> dict:
    """The warden's part: wait until the program stops at its end, or dies, or all of it takes too much memory."""
    depths: list = []
    if job["private_tmp"]:
        signal.signal(signal.SIGALRM, lambda *_: watch(job["memory_mb"]))
        signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
    try:
        while True:
            pid, status = os.waitpid(-1, os.WUNTRACED)  # as the cage's process 1 it also meets the program's orphans
            if pid == program and not os.WIFSTOPPED(status):
                return ended(status, heard, job, begun=len(depths) == 2)
            if pid == program:
                place = where(program)
                if len(depths) == 2 and same_place(place, *depths):
                    return {"status": "passed", "message": said(heard).get("message", "")}
                depths = (depths + [place])[:2]
                os.kill(program, signal.SIGCONT)
    except TooMuch as limit:
        return limit.args[0]


def where(pid: int) -> tuple | None:
    """The system call in which a stopped process waits, and its stack pointer; None where the kernel tells no one."""
    try:
        with open(f"/proc/{pid}/syscall") as handle:
            number, *arguments, stack, place = handle.read().split()
    except (OSError, ValueError):
        return None
    return (number, arguments[:2], place), int(stack, 16)


def same_place(now: tuple | None, start: tuple | None, deeper: tuple | None) -> bool:
    """Whether the process waits in the same call as at ``start`` and as deep: a handler of its own is 0.2 deeper."""
    if not (now and start and deeper):
        return start is None
    return now[0] == start[0] and 16 * abs(now[1] - start[1]) < abs(start[1] - deeper[1])


def ended(status: int, heard: int, job: dict, begun: bool) -> dict:
    """The verdict on a program whose process is gone."""
    told = said(heard)
    if told.get("status") in (("failed", "memory") if begun else ("error",)):
        return told
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return {"status": "timeout", "message": f"no end after {job['cpu_s']} s of computing"}
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
    return {"status": "failed", "message": f"ended before the program's last line ({how})"}


def said(heard: int) -> dict:
    """What the program's process told of itself; a program may have written there too, so nothing is taken for granted."""
    os.set_blocking(heard, False)
    try:
        told = json.JSONDecoder().raw_decode(os.read(heard, 1 << 16).decode("utf-8", "replace"))[0]
        return {"status": str(told["status"]), "message": str(told["message"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class TooMuch(Exception):
    pass


def watch(memory_mb: int) -> None:
    """Limits that hold for a process alone, held for the whole cage: memory, and the number of files."""
    pages = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/statm") as handle:
                    resident, shared = handle.read().split()[1:3]
                pages += int(resident) - int(shared)
            except (OSError, ValueError):
                continue
    if pages * resource.getpagesize() > memory_mb << 20:
        raise TooMuch({"status": "memory", "message": f"its processes together took more than {memory_mb} MB"})
    space = os.statvfs("/tmp")
    if space.f_files - space.f_ffree > MOST_FILES:
        raise TooMuch({"status": "output", "message": f"made more than {MOST_FILES:,} files"})


def lock_in(job: dict, told: int) -> None:
    """The program's process: into a folder of its own, without privileges, under limits; then the program."""
    try:
        if job["private_tmp"]:
            os.chdir("/tmp")
        sys.path.extend(job["packages"])
        if sys.platform == "linux":
            drop_privileges(job["uid"])
        if job["private_tmp"]:
            os.mkdir("program", 0o700)
            os.chdir("program")
        set_limits(job)
        if job["refused"]:
            refuse_system_calls(bytes.fromhex(job["refused"]))
    except BaseException as error:
        os.write(told, json.dumps({"status": "error", "message": f"the cage failed: {error}"}).encode())
        os._exit(1)
    execute(job, told)


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    report, nonce = job.pop("report"), job.pop("nonce")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        if job["root"]:
            build_root(job["root"], job["visible"])
        heard, told = os.pipe()
        program = os.fork()
        if not program:
            for private in (report, nonce, heard):
                os.close(private)
            lock_in(job, told)
        os.close(told)
        os.write(report, b"ready\n")
        if sys.platform == "linux":
            libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no tracing and no look at it for a program of the same user
        verdict = judge(program, heard, job)
    except BaseException as error:
        verdict = {"status": "error", "message": f"the cage failed: {error}"}
    # Read only now, when the program is stopped or gone: it is in no memory that was ever the program's.
    os.write(report, os.read(nonce, 64) + json.dumps(verdict).encode())
    os._exit(0)


main()
