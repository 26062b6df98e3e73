"""Compile generated code once, keep it in the user's cache, load it through ctypes.

An entry of the cache is a directory named by the hash of source, compiler, flags and processor; it holds the source,
the library and the library's own hash, is written aside and renamed whole, and is made again if it is damaged. The
cache is private (mode 0700) and is not used if it belongs to anyone else: what lies in it is run.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from nvlib.native.graph import Unsupported
from nvlib.native.layout import Machine

COMPILERS = ("g++", "clang++", "c++")
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-w")
_RUN_CHIP = (ctypes.c_void_p,) * 4 + (ctypes.c_ssize_t,) * 2
_SECONDS = 300  # a network of a hundred layers takes half a minute
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mprefer-vector-width=512")
MACHINES = {
    "avx512": Machine("avx512", 16, 24, _AVX512),
    "avx2": Machine("avx2", 8, 12, _AVX2),
    "neon": Machine("neon", 4, 24, ()),
    "plain": Machine("plain", 4, 12, ()),
}


def machine() -> Machine:
    """Return what this processor is best written for; PyTorch knows (and heeds ATEN_CPU_CAPABILITY)."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return MACHINES["neon"]
    return MACHINES.get(torch.backends.cpu.get_cpu_capability().lower(), MACHINES["plain"])


def compiler() -> str:
    """Return the path of a C++ compiler; Unsupported if there is none."""
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise Unsupported(f"there is no C++ compiler ({', '.join(COMPILERS)}) on the PATH")
    return found


def description() -> str:
    """Say what code is generated for and what compiles it, or why it is not."""
    try:
        said = _version(compiler()).splitlines()
    except Unsupported as reason:
        return str(reason)
    return f"{said[0] if said else 'a compiler'}; {machine().name}, {machine().lanes} lanes"


@lru_cache
def _version(path: str) -> str:
    """What a compiler says of itself."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Unsupported(f"{path} does not run: {error}") from error


def cache() -> Path:
    """Return the directory of compiled code, made if need be; Unsupported if it is not this user's alone."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    where = (base if base.is_absolute() else Path("~/.cache").expanduser()) / "nvlib"
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = where.lstat()
    except (OSError, RuntimeError) as error:
        raise Unsupported(f"the cache {where} cannot be used ({error}); set XDG_CACHE_HOME") from error
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        raise Unsupported(f"the cache {where} is not a directory of this user; set XDG_CACHE_HOME")
    if found.st_mode & 0o022:
        raise Unsupported(f"the cache {where} can be written by others; chmod 700 it")
    return where


def load(
    source: str,
    target: Machine,
    name: str = "run_chip",
    arguments: tuple[type, ...] = _RUN_CHIP,
    *,
    make: bool = True,
) -> Callable[..., None]:
    """Return a function of generated code, compiled now or before.

    Args:
        source: C++.
        target: what to compile it for.
        name: of the function; it returns nothing.
        arguments: its arguments' types.
        make: whether to compile what is not in the cache.

    Raises:
        Unsupported: without a compiler or a private cache, or if the compiler refuses; or if the code is not in the
            cache and is not to be made.
    """
    path = compiler()
    command = [path, *_FLAGS, *target.flags]
    about = "\0".join([source, _version(path), *command, platform.machine(), platform.system()])
    entry = cache() / hashlib.sha256(about.encode()).hexdigest()[:32]
    if not _whole(entry):
        if not make:
            raise Unsupported("this code has not been compiled before")
        _make(entry, source, command)
    try:
        function = getattr(ctypes.CDLL(str(entry / "kernel.so")), name)
    except (OSError, AttributeError) as error:
        raise Unsupported(f"compiled code does not load: {error}") from error
    function.argtypes = list(arguments)
    function.restype = None
    return function


def _whole(entry: Path) -> bool:
    try:
        return _digest(entry / "kernel.so") == (entry / "kernel.sha256").read_text()
    except (OSError, UnicodeDecodeError):
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _make(entry: Path, source: str, command: list[str]) -> None:
    """Compile beside the entry and rename; what another process made meanwhile is as good."""
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix="making-") as aside:
        new = Path(aside) / "new"
        new.mkdir(mode=0o700)
        (new / "kernel.cpp").write_text(source)
        try:
            done = subprocess.run(
                [*command, "-x", "c++", "kernel.cpp", "-o", "kernel.so"],
                cwd=new, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise Unsupported(f"the compiler did not finish: {error}") from error
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            raise Unsupported(f"the compiler refused: {said}")
        (new / "kernel.sha256").write_text(_digest(new / "kernel.so"))
        for _ in range(3):
            try:
                os.rename(new, entry)
                return
            except OSError:  # there is one already: another process's, or a damaged one
                if _whole(entry):
                    return
                try:
                    os.rename(entry, Path(aside) / f"damaged-{os.urandom(4).hex()}")
                except OSError:
                    continue  # another process moved it away
        raise Unsupported(f"the cache {entry.parent} cannot be written; set XDG_CACHE_HOME")
