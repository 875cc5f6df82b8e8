"""Which device computes, in which precision, and how much memory it has.

A type is chosen by what a card computes in: bfloat16 from Ampere on, unless weights are stored in
float16, whose three more bits it would drop; float16 on the cards before it; float32 on those
without fast half precision, and on the GTX 16 series, whose float16 convolutions give numbers that
are not finite.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import torch

from animate.errors import RequestError
from animate.request.request import Precision
from temporal.kinds import Precision as Arithmetic

_WRONG_HALVES = re.compile(
    r"\b(GTX 16\d0|T400|T500|T550|T600|T1000|T1200|T2000|MX450|MX550|CMP 30HX)\b"
)
"""Names of cards with the chips TU116 and TU117, of compute capability 7.5."""
_HALVES, _BRAIN_HALVES = (7, 0), (8, 0)
"""Compute capabilities from which a card computes fast in float16, and in bfloat16."""
_DRIVER = Path("/proc/driver/nvidia/version")


_calls = threading.RLock()
"""Held while networks compute. They belong to whoever loaded them, but the number of processor
threads, which decides the last bits of a picture, belongs to the process."""
_running = 0
"""Calls that hold the lock, one within the other."""
_torn = False
"""True in a process that was forked from one that computed: its networks are in mid-step."""


@contextmanager
def queued() -> Iterator[None]:
    """Within, no other thread of this process computes pictures: calls wait for each other.

    Raises RequestError in a process that was forked while another one computed.
    """
    global _running
    _watch_forks()
    if _torn:
        raise RequestError(
            "this process was forked while a clip was made, and has its networks as they were in "
            "the middle of it; start processes by spawn, or fork them when no clip is made"
        )
    with _calls:
        _running += 1
        try:
            yield
        finally:
            _running -= 1


@cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forked)


def _forked() -> None:
    # The thread that held the lock is not in this process, and would be waited for without end.
    global _calls, _torn
    _torn = _torn or _running > 0
    _calls = threading.RLock()


@contextmanager
def without_autocast() -> Iterator[None]:
    """Within, networks compute in their own precision, whatever the caller lets torch choose."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def choose_device(name: str) -> torch.device:
    """`auto` takes the first CUDA device where there is one, else the CPU.

    Raises RequestError when the device named is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise RequestError(f"device {name}: {_no_cuda()}, or use --device cpu")
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            named = "only cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
            raise RequestError(f"device {name} is not there; there is {named}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RequestError("device mps is not there; use --device cpu")
    return device


def unused_card(name: str, device: torch.device) -> str:
    """The reason why a card that `auto` would take cannot be used; empty where there is none."""
    if name != "auto" or device.type != "cpu" or not _DRIVER.exists():
        return ""
    return f"this machine has an NVIDIA card that is not used: {_no_cuda()}"


def _no_cuda() -> str:
    """The reason for which torch sees no CUDA device, and the way out."""
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"torch {torch.__version__} is built without CUDA; install one that has it "
            "(https://pytorch.org/get-started/locally)"
        )
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as reason:
        return f"torch cannot start CUDA ({_first_sentence(reason)}); update the driver"
    return "this torch sees no CUDA device; check CUDA_VISIBLE_DEVICES and the driver"


def _first_sentence(reason: Exception) -> str:
    return " ".join(str(reason).split()).split(". ")[0]


def automatic_precision(
    device: torch.device, stored: torch.dtype | None = None, *, large: bool = False
) -> Arithmetic:
    """The type that `--precision auto` computes in.

    stored: type of the weight file; None if it is not known
    large: a model of a size at which a processor's bfloat16 instructions outweigh their rounding
    """
    if device.type == "cuda":
        return _automatic_on_card(device, stored)
    if device.type == "cpu" and large and has_bfloat16_instructions():
        return "bfloat16"
    return "float32"


def _automatic_on_card(device: torch.device, stored: torch.dtype | None) -> Arithmetic:
    if not torch.cuda.is_available():  # a plan for a card that is elsewhere
        return "float16"
    if has_bfloat16(device):
        return "float16" if stored == torch.float16 else "bfloat16"
    return "float16" if _computes_in_halves(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """True for a card with bfloat16 arithmetic of its own; others only emulate it."""
    if torch.version.hip is not None:
        return True
    return torch.cuda.get_device_capability(device) >= _BRAIN_HALVES


def _computes_in_halves(device: torch.device) -> bool:
    if torch.version.hip is not None:
        return True
    name = torch.cuda.get_device_name(device)
    return torch.cuda.get_device_capability(device) >= _HALVES and not _WRONG_HALVES.search(name)


def has_bfloat16_instructions() -> bool:
    """True for a processor that multiplies in bfloat16 (AVX512-BF16, AMX); others emulate it."""
    cpu = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())


def choose_dtype(
    precision: Precision,
    device: torch.device,
    stored: torch.dtype | None = None,
    *,
    large: bool = False,
) -> torch.dtype:
    """The type that a precision computes in; see `automatic_precision` for "auto" and "int8"."""
    if precision in ("auto", "int8"):  # 8 bits are of weights only
        precision = automatic_precision(device, stored, large=large)
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


def precision_remark(precision: Precision, dtype: torch.dtype, device: torch.device) -> str:
    """A remark for the user on a type on a device; empty where there is none."""
    if device.type == "cpu" and precision in ("auto", "int8") and dtype == torch.bfloat16:
        return (
            "computing in bfloat16, for which this processor has instructions; --precision float32 "
            "is exact and takes longer"
        )
    if device.type != "cuda":
        return ""
    name = torch.cuda.get_device_name(device)
    if dtype == torch.bfloat16 and not has_bfloat16(device):
        return f"{name} only emulates bfloat16, which is slow; leave --precision out"
    if dtype == torch.float16 and not _computes_in_halves(device):
        return (
            f"{name} is slow in float16, or gives numbers in it that are not finite; leave "
            "--precision out for float32"
        )
    return ""


def wider_type(dtype: torch.dtype, device: torch.device) -> torch.dtype | None:
    """The next type that holds larger numbers, on a device that computes in it; None after the
    last."""
    if dtype == torch.float16 and device.type == "cuda" and has_bfloat16(device):
        return torch.bfloat16
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else None


def computing_dtype(network: torch.nn.Module) -> torch.dtype:
    """The type that a network computes in, 8-bit weights or not."""
    return next(p.dtype for p in network.parameters() if p.is_floating_point())


def precision_of(network: torch.nn.Module) -> str:
    """The type of a network's weights: `int8` where any are, else the name of their type."""
    kinds = {parameter.dtype for parameter in network.parameters()}
    kind = torch.int8 if torch.int8 in kinds else next(network.parameters()).dtype
    return str(kind).removeprefix("torch.")


def device_memory(device: torch.device) -> int:
    """Bytes that may be used of a device: of a GPU what is free, and what torch holds of it, since
    that is all ours: networks of the clip before, and memory kept for reuse. Of the host what is
    available, or half of all where the system does not say."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return _host_memory()


def _host_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    try:
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # macOS and others have no such file
        page = os.sysconf("SC_PAGE_SIZE")
        if "SC_AVPHYS_PAGES" in os.sysconf_names:
            return page * os.sysconf("SC_AVPHYS_PAGES")
        return page * os.sysconf("SC_PHYS_PAGES") // 2


def peak_device_bytes(device: torch.device) -> int | None:
    """The most memory that torch has allocated on a GPU so far; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def device_and_dtype(
    targets: Sequence[str | torch.device | torch.dtype],
    device: str | torch.device | None,
    dtype: torch.dtype | None,
) -> tuple[str | torch.device | None, torch.dtype | None]:
    """Device and type that arguments of a pipeline's `to` name, by position or keyword.

    Raises RequestError for a type that networks do not compute with.
    """
    for target in targets:
        if isinstance(target, torch.dtype):
            dtype = target
        else:
            device = target
    if dtype is not None:
        precision_named(dtype)
    return device, dtype


def precision_named(dtype: torch.dtype) -> Precision:
    """The setting's word for a type. Raises RequestError for one that networks do not compute
    with."""
    names: dict[torch.dtype, Precision] = {
        torch.float32: "float32",
        torch.float16: "float16",
        torch.bfloat16: "bfloat16",
    }
    if dtype not in names:
        raise RequestError(f"torch_dtype {dtype} is not one of {', '.join(names.values())}")
    return names[dtype]
