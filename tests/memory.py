"How much memory a program of its own has taken."

import re
import resource
from pathlib import Path


def measure_peak():
    "The most memory that this program has held, MB. On Linux `ru_maxrss` is that of whoever started it, if that was more."
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
