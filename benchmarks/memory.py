"""Peak memory of the process that asks. It imports next to nothing: what it loads, it would measure."""

from __future__ import annotations

from pathlib import Path


def peak_rss_mb() -> float:
    """Largest resident set of this process so far, in MiB."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # macOS counts bytes
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
