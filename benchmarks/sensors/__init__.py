"""Energy, clocks and temperature, as far as the machine lets itself be read.

    with Energy.open() as energy:
        before = energy.joules()
        ...                                             # what is measured
        spent = joules_between(before, energy.joules())
    energy.domains, energy.absent                       # what was read, and why the rest was not
    sum(spent[name] for name in energy.total)           # the machine's, nothing counted twice

    machine_state()                                     # clocks, governors, temperatures, power mode
    device_memory(os.getpid())                          # bytes on the GPU

One file per kind of sensor: `rapl.py` (x86 processors), `nvml.py` (NVIDIA GPUs), `ina.py` (Jetson rails) and
`tegrastats.py` (the same where sysfs is closed); `gauges.py` turns readings into joules; `rails.py` knows which
rails are a board's total; `state.py` reads what is not energy. What `smartrt doctor` reads too (the board, one value of
a file, a started NVML) is in `smartrt.machine`.
"""

from __future__ import annotations

from .base import NOT_MEASURED, Meter, Sampling, joules_between
from .energy import Energy
from .nvml import device_memory
from .state import machine_state

__all__ = ["NOT_MEASURED", "Energy", "Meter", "Sampling", "device_memory", "joules_between", "machine_state"]
