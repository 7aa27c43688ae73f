"""CUDA without PyTorch: libcudart through ctypes, as little of it as running a plan takes.

What is where:

    library.py       find and load libcudart
    prototypes.py    the functions, their types and their flags
    codes.py         return codes -> errors
    calls.py         the functions on one device: every return code is looked at there, once
    device.py        Cuda: one GPU, and what is made on it
    memory.py        Buffer: memory of the GPU with the host's view of it
    stream.py        Stream, CapturedGraph
"""

from .device import Cuda, Properties
from .library import SearchPlaces, load_cudart
from .memory import Buffer
from .stream import CapturedGraph, Stream

__all__ = ["Buffer", "CapturedGraph", "Cuda", "Properties", "SearchPlaces", "Stream", "load_cudart"]
