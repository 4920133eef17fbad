"""A control group for each boot of a machine, so that its systemd has one to itself."""

from __future__ import annotations

import os
import time
from pathlib import Path


def _roots() -> list[Path]:
    """Our own group in every hierarchy that systemd uses: its named one (version 1) and version 2."""
    roots = []
    mount = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "name=systemd":
            base = mount / "systemd"
        elif controllers == "":
            base = mount / "unified" if (mount / "unified").exists() else mount
        else:
            continue
        # Seen through a group namespace, a path may lead above its root.
        group = base / path.lstrip("/") if ".." not in path else base
        if (group / "cgroup.procs").exists():
            roots.append(group)
    return roots


class Group:
    def __init__(self, name: str) -> None:
        self.paths = [root / name for root in _roots()]
        for path in self.paths:
            path.mkdir(parents=True)

    def enter(self) -> None:
        """Moves the calling process."""
        for path in self.paths:
            (path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        """Once everything in it is dead; the kernel may need a moment to see that."""
        for path in self.paths:
            for _ in range(100):
                if _remove_tree(path):
                    break
                time.sleep(0.01)


def _remove_tree(path: Path) -> bool:
    try:
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_below(name: str) -> None:
    """All groups of a run that was cut short."""
    for root in _roots():
        for _ in range(100):
            if _remove_tree(root / name):
                break
            time.sleep(0.01)
