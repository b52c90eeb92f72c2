"""What the sandbox must know of the machine it runs on, and what that machine may lack."""

from __future__ import annotations

import os
import resource
import shutil
import socket
from pathlib import Path

CAP_SYS_ADMIN = 21
CA_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
)
PODMAN_HELPERS = (Path("/usr/lib/podman"), Path("/usr/libexec/podman"))
PODMAN_PACKAGES = "podman runc iptables netavark aardvark-dns mmdebstrap"
MOST_OPEN_FILES = 65536
MOST_PROCESSES = 65536


def has_hybrid_cgroups(root: Path = Path("/sys/fs/cgroup")) -> bool:
    """Tell whether cgroup v2 stands beside v1 controllers, where crun refuses to work."""
    return (root / "unified").is_dir() and (root / "memory").is_dir()


def read_limits() -> dict[str, int]:
    """Return the limits to give containers, at or under the hard limits of this process.

    Without CAP_SYS_RESOURCE an engine's own defaults are refused when they are higher. podman
    lowers its own limit of processes to the kernel's pid_max first, so that counts as well.
    """
    pid_max = int(Path("/proc/sys/kernel/pid_max").read_text())
    wanted = {
        "nofile": (resource.RLIMIT_NOFILE, MOST_OPEN_FILES),
        "nproc": (resource.RLIMIT_NPROC, min(pid_max, MOST_PROCESSES)),
    }
    limits = {}
    for name, (number, most) in wanted.items():
        hard = resource.getrlimit(number)[1]
        limits[name] = most if hard == resource.RLIM_INFINITY else min(hard, most)
    return limits


def find_ca_bundle() -> Path | None:
    """Return the host's bundle of trusted certificates; None when it has none."""
    return next((path for path in CA_BUNDLES if path.is_file()), None)


def read_memory_mib(meminfo: str | None = None) -> int:
    """Return the machine's memory in MiB, from the text of /proc/meminfo."""
    text = Path("/proc/meminfo").read_text() if meminfo is None else meminfo
    line = next(line for line in text.splitlines() if line.startswith("MemTotal:"))
    return int(line.split()[1]) // 1024


def port_is_free(port: int) -> bool:
    """Tell whether nothing listens on `port` of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def has_capability(number: int, status: str | None = None) -> bool:
    """Tell whether this process holds capability `number`, from the text of /proc/self/status."""
    text = Path("/proc/self/status").read_text() if status is None else status
    line = next(line for line in text.splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> number & 1)


def check_host() -> list[str]:
    """Return what this machine lacks for a sandbox, each as one sentence with how to get it.

    An empty list means that `bridge sandbox up` can be tried. Whether a base image can be had is
    known only when it is needed.
    """
    missing = []
    if os.geteuid() != 0:
        missing.append("The sandbox starts privileged containers: run it as root (sudo).")
    elif not has_capability(CAP_SYS_ADMIN):
        missing.append(
            "This root lacks CAP_SYS_ADMIN, so containers cannot mount: use a real or virtual"
            " machine, or a privileged container."
        )
    if not Path("/dev/fuse").exists():
        missing.append("Apptainer mounts images by /dev/fuse, which is not here: modprobe fuse.")
    return missing + missing_of_engine()


def missing_of_engine() -> list[str]:
    """Return what podman needs and does not find; docker brings what it needs itself."""
    if shutil.which("podman") is None:
        if shutil.which("docker") is not None:
            return []
        return [f"Neither podman nor docker is on PATH: apt-get install {PODMAN_PACKAGES}."]
    missing = []
    if has_hybrid_cgroups() and shutil.which("runc") is None:
        missing.append("podman needs runc where cgroup v1 and v2 are mixed: apt-get install runc.")
    if shutil.which("iptables") is None and shutil.which("nft") is None:
        missing.append("podman's networks need iptables: apt-get install iptables.")
    missing += [
        f"podman's networks need {helper}: apt-get install {helper}."
        for helper in ("netavark", "aardvark-dns")
        if not any((place / helper).exists() for place in PODMAN_HELPERS)
    ]
    return missing
