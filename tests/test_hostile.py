"""Programs that mean harm, each bounded so that a cage that fails would harm a canary file alone.

Every program ends well (its last line is reached) only if its attack worked; so none may pass, in any real cage.
"""

import ast
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from laif_helpers import sandbox

REAL_CAGES = [name for name in ("bubblewrap", "unshare") if not sandbox.why_not(name)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL_CAGES, reason="neither bubblewrap nor unshare works on this machine"),
]

MARK = f"canary{os.getpid()}"
PRELUDE = """
import atexit, builtins, ctypes, gc, glob, json, mmap, os, re, shutil, signal, socket, subprocess, sys, threading, time
canary, home, port, mark = {canary!r}, {home!r}, {port}, {mark!r}
libc = ctypes.CDLL(None, use_errno=True)
try:
    open("/proc/self/comm", "w").write(mark)
except OSError:
    pass
def tried(*attempts):
    done = []
    for attempt in attempts:
        try:
            done.append(attempt())
        except (OSError, ValueError):
            pass
    return [one for one in done if one]
def spare():
    "What a daemon would do later: it harms the canary if it is still there to do so."
    time.sleep(4)
    open(canary, "w").write("dead")
"""

FLOODS = {
    "process flood": "for _ in range(2000): os.fork()",
    "process flood that takes no for an answer": """
end = time.time() + 20
while time.time() < end:
    try: os.fork()
    except OSError: pass
""",
    "thread flood": """
for _ in range(2000): threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
""",
    "endless loop": "end = time.time() + 20\nwhile time.time() < end: pass",
    "endless loop, deaf to signals": """
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
end = time.time() + 20
while time.time() < end: pass
""",
    "endless sleep": "time.sleep(20)",
    "allocation past the limit": "parts = [bytearray(1 << 24) for _ in range(100)]",
    "allocation in many processes": """
for _ in range(12):
    if os.fork() == 0:
        part = bytearray(b"x") * (100 << 20)
        time.sleep(20)
time.sleep(20)
""",
    "shared memory past the limit": """
parts = [mmap.mmap(-1, 1 << 26) for _ in range(40)]
for part in parts: part.write(b"x" * (1 << 26))
""",
    "endless output": "for _ in range(1 << 16): print('x' * 4096)",
    "endless errors": "for _ in range(1 << 16): print('x' * 4096, file=sys.stderr)",
    "huge file": "open('huge', 'wb').write(bytes(200 << 20))",
    "filled folder": """
for folder in ('.', '/dev/shm', '/tmp', '/var/tmp', '/dev', '/run'):
    for number in range(150):
        try: open(f'{folder}/{number}', 'wb').write(bytes(1_000_000))
        except OSError: break
used = sum(os.stat(path).st_blocks * 512 for path in glob.glob('/tmp/**', recursive=True) + glob.glob('/dev/shm/*'))
assert used > 120 << 20, used
""",
    "many files": "for number in range(60_000): open(str(number), 'w').close()\ntime.sleep(1)",
    "deep recursion": "sys.setrecursionlimit(1 << 30)\ndef f(n): return [f(n + 1)]\nf(0)",
    "recursion in C": "x = []\nfor _ in range(10 ** 6): x = [x]\nrepr(x)",
}
LOOKING = {
    "environment": """
seen = str(dict(os.environ)) + "".join(tried(*[lambda p=p: open(p).read() for p in glob.glob('/proc/*/environ')]))
assert 'secret-canary' in seen
""",
    "home folder": """
names = ['.bashrc', '.profile', '.ssh', '.cache', '.gitconfig', '.config', '.netrc']
assert tried(*[lambda n=n: os.stat(home + '/' + n) for n in names])
""",
    "files of the system": """
assert tried(*[lambda p=p: open('/etc/' + p).read() for p in ('passwd', 'shadow', 'hosts')])
""",
    "file of the user": "assert open(canary).read()",
    "file of the user through a link": "os.symlink(canary, 'link')\nassert open('link').read()",
    "file of the user through /proc": """
roots = glob.glob('/proc/*/root') + glob.glob('/proc/*/cwd') + glob.glob('/proc/*/fd/*')
assert tried(*[lambda r=r: open(r + canary).read() for r in roots])
""",
    "file of the user through the old root": """
places = ('/.old', '/oldroot', '/newroot', '/..', '/proc/1/root/..')
assert tried(*[lambda p=p: open(p + canary).read() for p in places])
""",
    "disk through a device": """
assert tried(lambda: os.mknod('disk', 0o60600, os.makedev(254, 0)), lambda: open('/dev/mem', 'rb').read(1),
             lambda: open('/dev/vda', 'rb').read(1), lambda: open('/dev/sda', 'rb').read(1),
             lambda: open('/proc/kcore', 'rb').read(1))
open('disk', 'rb').read(1)
""",
    "standard input": "assert sys.stdin.read() + os.read(0, 10).decode()",
    "network of this machine": "socket.create_connection(('127.0.0.1', port), 2)",
    "abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0' + mark)",
    "network outside": """
socket.setdefaulttimeout(2)
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.sendto(b'x', ('192.0.2.1', 53))
""",
    "name of a host": "socket.setdefaulttimeout(2)\nsocket.getaddrinfo('pypi.org', 443)",
}
HARMING = {
    "overwrite": "open(canary, 'w').write('dead')",
    "overwrite through a link": "os.symlink(canary, 'link')\nopen('link', 'w').write('dead')",
    "hard link": "os.link(canary, 'hard')",
    "delete": "os.remove(canary)",
    "delete its folder": "shutil.rmtree(os.path.dirname(canary))",
    "write into the system": """
places = ['/', '/usr/', '/etc/', '/bin/', '/lib/', '/dev/', '/var/', home + '/', sys.prefix + '/', os.__file__ + '-',
          *[path + '/' for path in sys.path if path]]
assert tried(*[lambda p=p: open(p + mark, 'w').write('dead') for p in places])
""",
    "change modes and owners": """
assert tried(*[lambda p=p: os.chmod(p, 0o777) or 1 for p in ('/', '/usr', sys.executable, os.__file__)],
             lambda: os.chown('.', 0, 0) or os.getuid())
""",
    "settings of the kernel": """
names = ['kernel/core_pattern', 'kernel/modprobe', 'vm/drop_caches', 'kernel/panic', 'kernel/threads-max']
assert tried(*[lambda n=n: open('/proc/sys/' + n, 'a').write('1') for n in names],
             lambda: open('/proc/sysrq-trigger', 'w').write('h'))
""",
    "become root": """
def become(): os.setuid(0); return open(canary).read()
def group(): os.setgroups([0]); return 1
assert tried(become, group)
""",
    "mount": """
flags = ctypes.c_ulong(4096)
assert libc.mount(b'/', b'/tmp', None, flags, None) == 0 or libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 \\
    or libc.umount2(b'/usr', 2) == 0 or libc.mount(None, b'/', None, ctypes.c_ulong(32 | 4096), None) == 0
""",
    "mount in a user namespace of its own": """
if libc.unshare(0x10000000 | 0x20000):
    inside = libc.syscall(56, 0x10000000 | 0x20000 | 17, 0, 0, 0, 0)
    assert inside >= 0
assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0
""",
    "shared memory that outlives its process": "assert libc.shmget(0, 1 << 20, 0o1600) >= 0",
    "another root": "assert tried(lambda: os.chroot('.') or 1)",
    "trace another process": "assert libc.ptrace(16, os.getppid(), 0, 0) == 0 or libc.ptrace(16, 1, 0, 0) == 0",
    "memory of another process": """
others = {int(name) for name in os.listdir('/proc') if name.isdigit()} - {os.getpid()}
assert tried(*[lambda p=p: open(f'/proc/{p}/mem', 'rb+') for p in others])
""",
    "kill the parent": """
for pid in (os.getppid(), 1, -1, -os.getpgid(0)):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
time.sleep(20)
""",
    "daemon": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3): os.close(number)
        spare()
os._exit(0)
""",
    "daemon that is another program": """
if os.fork() == 0:
    os.setsid()
    os.execv('/bin/sleep', [mark, '60'])
sys.exit(0)
""",
    "shell": "os.execv('/bin/sh', ['sh', '-c', f'echo dead > {canary}; exit 0'])",
    "shell as a child": "assert subprocess.run(f'echo dead > {canary}', shell=True).returncode == 0",
    "crash": "ctypes.string_at(0)",
    "abort": "os.abort()",
}
PRETENDING = {
    "early exit": "os._exit(0)",
    "sys.exit": "sys.exit(0)",
    "SystemExit at exit": "atexit.register(lambda: sys.exit(0))\nassert False",
    "SystemExit of a thread": "threading.Thread(target=sys.exit, args=(0,)).start()\nassert False",
    "finalisation in C": "ctypes.pythonapi.Py_Exit(0)",
    "another program": "os.execv(sys.executable, [sys.executable, '-c', 'pass'])",
    "patched built-ins": """
for name in ('AssertionError', 'BaseException', 'Exception', 'SystemExit', 'MemoryError'):
    setattr(builtins, name, type('Never', (), {}))
assert False
""",
    "patched modules": """
import traceback
for module, name in ((traceback, 'print_exception'), (traceback, 'format_exception_only'), (json, 'dumps')):
    setattr(module, name, lambda *a, **k: os._exit(0))
os.write = os.kill = os.getpid = os._exit = sys.excepthook = sys.unraisablehook = lambda *a, **k: 0
assert False
""",
    "patched standard output": """
class Loud:
    def write(self, text): return len(text)
    def flush(self): os._exit(0)
sys.stdout = sys.stderr = Loud()
assert False
""",
    "closed descriptors": "for number in range(64):\n    try: os.close(number)\n    except OSError: pass\nos._exit(0)",
    "an error that looks away": """
class Never(BaseException):
    def __str__(self): os._exit(0)
    __repr__ = __str__
raise Never
""",
    "verdict to every descriptor": """
found = [str(part) for frame in [sys._getframe()] for part in gc.get_objects() if isinstance(part, str)]
frame, texts = sys._getframe(), []
while frame:
    texts += [str(frame.f_locals), str(frame.f_globals)]
    frame = frame.f_back
texts += tried(*[lambda p=p: open(p).read() for p in glob.glob('/proc/*/cmdline') + glob.glob('/proc/*/environ')])
nonces = {*re.findall('[0-9a-f]{32}', ' '.join(texts + found)), ''}
for number in range(64):
    for nonce in nonces:
        try: os.write(number, (nonce + json.dumps({'status': 'passed', 'message': ''})).encode())
        except OSError: pass
os._exit(0)
""",
    "verdict through /proc": """
for path in glob.glob('/proc/[0-9]*/fd/*'):
    try: open(path, 'r+').write('0' * 32 + json.dumps({'status': 'passed', 'message': ''}))
    except (OSError, ValueError): pass
os._exit(0)
""",
    "stops like the end": "for _ in range(5): os.kill(os.getpid(), signal.SIGSTOP)\nassert False",
    "stops from the frames of the cage": """
frame = sys._getframe()
while frame.f_code.co_name != 'execute': frame = frame.f_back
for _ in range(5): frame.f_locals['halt'](frame.f_locals['owner'], frame.f_locals['stop'])
os._exit(0)
""",
    "runs the cage's function again": """
frame = sys._getframe()
while frame.f_code.co_name != 'execute': frame = frame.f_back
frame.f_globals['execute']({'source': 'pass', 'memory_mb': 1}, frame.f_locals['report_pipe'])
""",
    "stops in a signal handler": """
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
assert False
""",
    "stops when it is collected": """
class Last:
    def __del__(self, kill=os.kill, me=os.getpid(), stop=signal.SIGSTOP): kill(me, stop)
keep = Last()
error = AssertionError(keep)
del keep
raise error
""",
    "stops in a trace function": """
frame, kill, me = sys._getframe(), os.kill, os.getpid()
def trace(frame, event, argument):
    kill(me, signal.SIGSTOP)
    return trace
while frame:
    frame.f_trace = trace
    frame = frame.f_back
sys.settrace(trace)
assert False
""",
    "jumps over the failure": """
frame = sys._getframe()
while frame.f_code.co_name != 'execute': frame = frame.f_back
lines = [line for _, _, line in frame.f_code.co_lines() if line]
def trace(frame, event, argument):
    for line in range(max(lines), min(lines), -1):
        try: frame.f_lineno = line
        except (ValueError, TypeError): pass
    return trace
frame.f_trace = trace
sys.settrace(trace)
assert False
""",
    "a copy that stops the original": """
me = os.getpid()
if os.fork() == 0:
    end = time.time() + 2
    while time.time() < end:
        try: os.kill(me, signal.SIGSTOP)
        except OSError: break
    os._exit(0)
time.sleep(0.1)
assert False
""",
    "a thread that stops it all": """
def stopping():
    while True: os.kill(os.getpid(), signal.SIGSTOP)
threading.Thread(target=stopping, daemon=True).start()
time.sleep(0.1)
assert False
""",
    "a copy that ends well": "if os.fork(): assert False, 'the original failed'",
}
PROGRAMS = FLOODS | LOOKING | HARMING | PRETENDING
OUTCOMES = {
    "allocation past the limit": {"memory", "timeout"},
    "allocation in many processes": {"memory", "timeout"},
    "endless loop": {"timeout"},
    "endless loop, deaf to signals": {"timeout"},
    "endless sleep": {"timeout"},
    "endless output": {"output"},
    "endless errors": {"output"},
    "many files": {"output", "timeout"},
}


@dataclass
class Ran:
    """What is left after all programs ran in one cage."""

    results: dict[str, sandbox.Result]
    canary: Path
    connected: int
    """Connections that reached the listener outside."""


@pytest.fixture(scope="module", params=REAL_CAGES)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """All programs, side by side, in one cage."""
    canary = tmp_path_factory.mktemp("outside") / "canary.txt"
    canary.write_text("alive")
    os.environ["LAIF_CANARY"] = "secret-canary"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0" + MARK)
        abstract.listen()
        connected: list[int] = []
        for listener in (server, abstract):
            threading.Thread(target=accept, args=(listener, connected), daemon=True).start()
        values = {"canary": str(canary), "home": str(Path.home()), "port": server.getsockname()[1], "mark": MARK}
        prelude = PRELUDE.format(**values)
        with ThreadPoolExecutor(6) as pool:  # most of them wait for their time-out
            limits = {"timeout_s": 3, "memory_mb": 300, "isolation": request.param}
            results = pool.map(lambda source: sandbox.run_python(prelude + source, **limits), PROGRAMS.values())
            found = dict(zip(PROGRAMS, results, strict=True))
        for listener in (server, abstract):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which would keep the name
    del os.environ["LAIF_CANARY"]
    yield Ran(found, canary, len(connected))


def accept(listener: socket.socket, connected: list[int]) -> None:
    try:
        while True:
            connected.append(listener.accept()[0].fileno())
    except OSError:
        pass


@pytest.mark.parametrize("name", PROGRAMS)
def test_contained(ran: Ran, name: str) -> None:
    result = ran.results[name]
    allowed = OUTCOMES.get(name, {"failed", "timeout", "memory", "output"})
    assert result.status in allowed, result
    assert result.seconds < 120, result


def test_nothing_outside_was_reached(ran: Ran) -> None:
    assert ran.canary.read_text() == "alive" and ran.connected == 0
    assert not any(Path(place, MARK).exists() for place in ("/", "/usr", "/etc", Path.home(), sys.prefix, "/tmp"))


def test_nothing_is_left_running(ran: Ran) -> None:
    deadline = time.monotonic() + 60
    while (left := running()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    assert ran.canary.read_text() == "alive", "no daemon came back to it"


def running() -> list[str]:
    """Process ids that carry our mark, as their name or as their first argument."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            first = (entry / "cmdline").read_text(errors="replace").split("\0")[0]
            if MARK in (first, (entry / "comm").read_text().strip()):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_the_suite_would_notice_a_cage_that_lets_go(tmp_path: Path) -> None:
    """Without a cage some of these attacks work: the programs are real."""
    canary = tmp_path / "canary.txt"
    canary.write_text("alive")
    prelude = PRELUDE.format(canary=str(canary), home=str(Path.home()), port=1, mark=MARK)
    worked = ["file of the user", "file of the user through a link", "hard link", "overwrite"]
    for name in worked:
        assert sandbox.run_python(prelude + PROGRAMS[name], isolation="none").status == "passed", name
    assert canary.read_text() == "dead"


def test_attacks_through_frames_name_variables_that_the_cage_has() -> None:
    """An attack that asks for a variable under an old name would fail by a KeyError and prove nothing."""
    source = Path(str(sandbox.__file__)).with_name("_cage.py").read_text()  # a script: importing it would run it
    tree = next(node for node in ast.parse(source).body if getattr(node, "name", "") == "execute")
    held = {getattr(node, "id", getattr(node, "arg", "")) for node in ast.walk(tree)}
    named = set(re.findall(r"f_locals\['(\w+)'\]", "".join(PROGRAMS.values())))
    assert len(named) >= 4 and named <= held
