"""What a number was measured on."""

import importlib.metadata
import os
import platform
import resource
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

import arena

PACKAGES = ("torch", "numpy", "ray", "pettingzoo", "gymnasium")


def provenance(device: str) -> dict[str, Any]:
    """What every record of a benchmark ends with: machine, versions and the command line."""
    return {"hardware": describe_machine(device), "versions": versions(), "command": command()}


def describe_machine(device: str) -> dict[str, str]:
    """Processor or GPU, cores and system."""
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor(),
        "cores": str(os.cpu_count()),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(terse=True),
    }


def versions() -> dict[str, str]:
    """Python, arena and those of PACKAGES that are installed."""
    found = {"python": platform.python_version(), "arena": arena.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # the core runs without ray, pettingzoo and gymnasium
    return found


def command() -> str:
    """The command line that is running."""
    program = sys.argv[0]
    start = ["python", program] if program.endswith(".py") else [os.path.basename(program)]
    return shlex.join([*start, *sys.argv[1:]])


def peak_memory_bytes(device: str) -> int:
    """Largest memory so far: allocated on the GPU, or resident in this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
