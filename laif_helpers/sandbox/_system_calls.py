"""Refuses system calls to a caged program: builds the seccomp filter (BPF) for this machine."""

import functools
import os
import struct
import sys

# What no answer needs: name spaces (they would hand the program new privileges inside them), mounts, other processes'
# memory, shared memory that outlives its process and so its limit, and corners of the kernel with a history.
# By machine: the kernel's number for it, ``clone``, and the refused calls.
_REFUSED = {
    "x86_64": (0xC000003E, 56, (29, 68, 101, 155, 161, 165, 166, 175, 246, 248, 249, 250, 272, 298, 304, 308, 310, 311,
                                313, 321, 323, 425, 428, 429, 430, 432, 442)),
    "aarch64": (0xC00000B7, 220, (39, 40, 41, 51, 97, 104, 105, 117, 186, 194, 217, 218, 219, 241, 265, 268, 270, 271,
                                  273, 280, 282, 425, 428, 429, 430, 432, 442)),
}  # fmt: skip
_CLONE3, _CLONE_NEWUSER, _X32 = 435, 0x10000000, 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x50001, 0x50026


@functools.cache
def program() -> bytes:
    """The filter, 8 bytes an instruction; empty on a machine whose call numbers are not listed here."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _REFUSED:
        return b""
    kernel_name, clone, refused = _REFUSED[machine]
    # (operation, instructions to skip if true, if false, value); offset 0 is the call, 4 the machine, 16 an argument
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, kernel_name), (_ANSWER, 0, 0, _EPERM), (_LOAD, 0, 0, 0)]
    steps += [(_AT_LEAST, 0, 1, _X32), (_ANSWER, 0, 0, _EPERM)]  # other names of the same calls
    for number in refused:
        steps += [(_EQUAL, 0, 1, number), (_ANSWER, 0, 0, _EPERM)]
    # clone3 takes its flags from memory, which no filter sees; told that there is none, libc uses clone.
    steps += [(_EQUAL, 0, 1, _CLONE3), (_ANSWER, 0, 0, _ENOSYS)]
    steps += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, 16), (_ANY_BIT, 0, 1, _CLONE_NEWUSER), (_ANSWER, 0, 0, _EPERM)]
    steps += [(_ANSWER, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
