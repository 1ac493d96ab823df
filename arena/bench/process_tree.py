"""Processor time and memory of a process and all that it started, from Linux's /proc."""

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
DRIVER, WORKER, RAYLET, GCS, REST = KINDS = ("driver", "worker", "raylet", "gcs", "rest")


class Usage(NamedTuple):
    """What one process has used so far."""

    kind: str  # DRIVER: the root; WORKER: runs tasks; RAYLET: one a node; GCS: one a cluster; REST: agents, monitors
    name: str  # as the system shows it
    cpu_seconds: float  # with those of children that have ended
    own_bytes: int  # resident memory that is no file and not shared, so without the object store


def process_tree(root: int) -> dict[int, Usage]:
    """Usage by process id of `root` and its descendants; OSError where there is no /proc."""
    if not PROC.is_dir():
        raise OSError("there is no /proc here, which says what the processes of Ray use: measure on Linux")
    stats = {int(folder.name): stat for folder in PROC.glob("[0-9]*") if (stat := _stat(folder)) is not None}
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    tree, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        if pid in stats and (usage := _usage(pid, root, stats[pid][1])) is not None:
            tree[pid] = usage
    return tree


def cpu_by_kind(before: dict[int, Usage], after: dict[int, Usage]) -> dict[str, float]:
    """CPU seconds used between two looks, by kind of process."""
    spent = dict.fromkeys(KINDS, 0.0)
    for pid, usage in after.items():
        spent[usage.kind] += usage.cpu_seconds - (before[pid].cpu_seconds if pid in before else 0.0)
    return spent


def _stat(folder: Path) -> tuple[int, float] | None:
    """(parent, CPU seconds); None if the process has just ended."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()  # a name may hold anything but ends in )
    except OSError:
        return None
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime and those of ended children: proc(5)
    return int(fields[1]), ticks / os.sysconf("SC_CLK_TCK")


def _usage(pid: int, root: int, cpu_seconds: float) -> Usage | None:
    folder = PROC / str(pid)
    try:
        name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        status = (folder / "status").read_text()
    except OSError:
        return None
    own = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0 kB")
    return Usage(_kind(pid == root, name), name, cpu_seconds, int(own.split()[1]) * 1024)


def _kind(is_root: bool, name: str) -> str:
    program = name.split(" ", 1)[0].rpartition("/")[2]
    if is_root:
        return DRIVER
    return WORKER if name.startswith("ray::") else {"raylet": RAYLET, "gcs_server": GCS}.get(program, REST)
