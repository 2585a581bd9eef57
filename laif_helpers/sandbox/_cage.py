"""Runs programs inside the cage, one after the other, and reports how each ended.

`sandbox/_warden.py` hands the text of ``_walls.py`` and of this file to ``python -s -P -S -c``; they are never imported
and use the standard library alone. Arguments: the descriptor of a socket, and the cage's settings as JSON. Through the
socket comes a job (its descriptors: a file with the job as JSON, standard output, standard error), and the verdict goes
back.

Two processes: the warden forks one for each program. Only the warden ever holds the socket, so nothing that the
program finds in its own process lets it forge a verdict. The process shows that it reached the program's last line by
stopping (SIGSTOP) at the same stack depth as before the program began. The kernel reports that depth to the warden. A
stop that the program itself calls comes from deeper.
"""
# pathlib and contextlib are not imported: every program run would wait for them.
# ruff: noqa: PTH102, PTH107, PTH123, PTH208, SIM105

import builtins
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback

from laif_helpers.sandbox._walls import (
    PR_SET_DUMPABLE,
    build_root,
    drop_privileges,
    libc,
    refuse_system_calls,
    set_limits,
)

TICK_S, MOST_FILES = 0.05, 20_000
NESTED = compile("exec('exec(code, space)', globals())", "<cage>", "exec")


def execute(job: dict, report_pipe: int) -> None:
    """Run the program as a script and write how it ended to ``report_pipe``; stop once more after its last line."""
    write, finish, dump, whoami, halt, stop = os.write, os._exit, json.dumps, os.getpid, os.kill, signal.SIGSTOP
    owner, source, status, message = whoami(), job.pop("source"), "failed", ""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    halt(owner, stop)  # at the depth from which the end will be reported
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
        write(report_pipe, dump({"status": status, "message": message}).encode())
        if status == "passed":
            halt(owner, stop)
    finish(1)


def show(error: BaseException) -> None:
    """Print the trace from the program's own first frame on, without the frames of the cage."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename != "<program>":
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace, limit=-5)


def judge(program: int, heard: int, job: dict, keeper: socket.socket) -> dict:
    """The warden's part: wait until the program stops at its end, dies, or its processes exceed a limit."""
    depths: list = []
    signal.signal(signal.SIGALRM, lambda *_: watch(job["memory_mb"], keeper))
    signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
    try:
        while True:
            pid, status = os.waitpid(-1, os.WUNTRACED)  # as the cage's process 1 it also meets the program's orphans
            if pid == program and not os.WIFSTOPPED(status):
                return ended(status, heard, job, begun=len(depths) == 2)
            if pid == program:
                place = where(program)
                if len(depths) == 2 and same_place(place, *depths):
                    return {"status": "passed", "message": reported(heard).get("message", "")}
                depths = [*depths, place][:2]
                os.kill(program, signal.SIGCONT)
    except TooMuch as limit:
        return limit.args[0]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def where(pid: int) -> tuple | None:
    """The system call in which a stopped process waits, and its stack pointer; None if the kernel hides both."""
    try:
        with open(f"/proc/{pid}/syscall") as handle:
            number, *arguments, stack, place = handle.read().split()
    except (OSError, ValueError):
        return None
    return (number, arguments[:2], place), int(stack, 16)


def same_place(now: tuple | None, start: tuple | None, deeper: tuple | None) -> bool:
    """Whether the process waits in the same system call as at ``start``, at the same stack depth.

    The unit is the depth that one ``exec`` adds (``deeper`` minus ``start``). The limit is 1/16 of it, because a signal
    handler that the program defines already stops 0.2 of it deeper.
    """
    if not (now and start and deeper):
        return start is None
    return now[0] == start[0] and 16 * abs(now[1] - start[1]) < abs(start[1] - deeper[1])


def ended(status: int, heard: int, job: dict, begun: bool) -> dict:
    """The verdict on a program whose process is gone."""
    report = reported(heard)
    if report.get("status") in (("failed", "memory") if begun else ("error",)):
        return report
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return {"status": "timeout", "message": f"no end after {job['cpu_s']} s of computing"}
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
    return {"status": "failed", "message": f"ended before the program's last line ({how})"}


def reported(heard: int) -> dict:
    """What the program's process reported. The program can write to the same pipe, so the text is not trusted."""
    os.set_blocking(heard, False)
    try:
        report = json.JSONDecoder().raw_decode(os.read(heard, 1 << 16).decode("utf-8", "replace"))[0]
        return {"status": str(report["status"]), "message": str(report["message"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class TooMuch(Exception):
    pass


def watch(memory_mb: int, keeper: socket.socket) -> None:
    """Enforce for the whole cage what the kernel limits only per process: memory, and the number of files."""
    if select.select([keeper], [], [], 0)[0]:
        os._exit(0)  # the process that waits for the verdict is gone
    if os.getpid() != 1:
        return
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


def lock_in(settings: dict, job: dict, report_pipe: int, files: list) -> None:
    """The program's process: into a folder of its own, without privileges, under limits; then the program."""
    try:
        for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files[1:]]):
            os.dup2(file, number)
        os.dup2(report_pipe, 3)
        os.closerange(4, 256)
        sys.path.extend(settings["packages"])
        if settings["private_tmp"]:
            os.chdir("/tmp")
        if sys.platform == "linux":
            drop_privileges(job["uid"])
        if settings["private_tmp"]:
            os.mkdir("program", 0o700)
            os.chdir("program")
        set_limits(job)
        if settings["refused"]:
            refuse_system_calls(bytes.fromhex(settings["refused"]))
    except BaseException as error:
        os.write(report_pipe, json.dumps({"status": "error", "message": f"the cage failed: {error}"}).encode())
        os._exit(1)
    execute(job, 3)


def run(settings: dict, keeper: socket.socket, files: list) -> dict:
    """One program from its start to its verdict."""
    with open(files[0], "rb", closefd=False) as handle:
        job = json.load(handle)
    heard, report_pipe = os.pipe()
    program = os.fork()
    if not program:
        lock_in(settings, job, report_pipe, files)
    os.close(report_pipe)
    try:
        return judge(program, heard, job, keeper)
    finally:
        for file in (heard, *files):
            os.close(file)


def swept(bound: list[str]) -> bool:
    """End every process of the cage but this, empty its folders, and say whether the next program may come.

    ``bound``: what lay in /tmp before the first program, the folders above a Python that is at home there. They stay,
    and root alone can be sure that no program wrote into them.
    """
    if os.getpid() != 1 or (bound and os.geteuid() != 0):
        return False
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    import shutil  # here, because a cage that runs a single program should not wait for it

    for folder in ("/tmp", "/dev/shm"):
        for name in set(os.listdir(folder)).difference(bound):
            shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
            if os.path.lexists(f"{folder}/{name}"):
                try:
                    os.remove(f"{folder}/{name}")
                except OSError:
                    return False
    return True


def main() -> None:
    keeper, settings = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    if settings["root"]:
        build_root(settings["root"], settings["visible"])
    if sys.platform == "linux":
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # a program of the same user can neither trace nor read this process
    bound = os.listdir("/tmp") if settings["private_tmp"] else []
    keeper.send(b"ready")
    while True:
        files = socket.recv_fds(keeper, 16, 3)[1]
        if not files:
            os._exit(0)
        keeper.send(json.dumps(run(settings, keeper, files)).encode())
        if not swept(bound):
            os._exit(0)
        keeper.send(b"swept")
        import collections, random, re, typing  # noqa: E401, F401, I001  (what most programs import)


main()
