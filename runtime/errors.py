"""Every error smartrt raises on purpose.

    SmartrtError
    ├── InputError               a text, id, array or k that was passed in        (also a ValueError)
    ├── OptionError              an option that does not exist or cannot be so     (also a ValueError)
    ├── MissingDependencyError   a library that is not installed                   (also an ImportError)
    ├── EngineError              an engine that cannot load or run a graph
    │   ├── PlanError            a TensorRT plan that cannot be compiled, found or loaded
    │   └── DeviceError          a device that was asked for and did not load
    │       ├── DeviceMemoryError    a device with too little free memory
    │       └── DeviceLostError      a device that stopped answering: this process cannot use it any more
    ├── BundleError              a bundle that cannot be read
    │   ├── CorruptBundleError       a missing file, a wrong size, hash or value
    │   └── UnsupportedFormatError   a newer format version, or a key this version does not know
    ├── IndexStoreError          an index that cannot be read or written to
    │   ├── CorruptIndexError        a missing file, a wrong size, hash or value
    │   ├── BundleMismatchError      an index that another bundle filled
    │   └── UnsupportedFormatError   the same one: it is a BundleError and an IndexStoreError
    ├── StorageError             a disk that is full or refuses
    └── ExportError              a checkpoint that cannot become a bundle
        └── ParityError          an exported graph that disagrees with PyTorch

Each message is one line: what was wrong, with the value, and what to do. The command line prints the
line and exits with 2. Anything else that escapes is a bug of smartrt, and keeps its traceback.

Truncation is not an error but never silent: it is a :class:`TruncationWarning`. So is an old processor that cannot
add 8-bit products exactly: a :class:`SaturationWarning`. A plan that has to be compiled first is a
:class:`PlanWarning`, launches that cannot be recorded a :class:`GraphCaptureWarning`. A :class:`PlacementWarning` is an
engine that does not tell what it runs on the CPU, a :class:`DeviceWarning` a device that failed where another one could
take its place.
"""

from __future__ import annotations


class SmartrtError(Exception):
    """Base of every error that smartrt raises on purpose."""


class InputError(SmartrtError, ValueError):
    """A text, id, array or k that was passed in is not usable."""


class OptionError(SmartrtError, ValueError):
    """An option does not exist, or does not take this value."""


class MissingDependencyError(SmartrtError, ImportError):
    """A library is not installed; the message holds the command that installs it."""


class EngineError(SmartrtError):
    """An engine cannot load or run a graph."""


class DeviceError(EngineError):
    """A device was asked for and did not load. There is never a silent run on another one."""


class DeviceMemoryError(DeviceError):
    """A device has too little free memory for what was asked."""


class DeviceLostError(DeviceError):
    """A device stopped answering, or its context is broken: only a new process can use it again."""


class PlanError(EngineError):
    """A TensorRT plan cannot be compiled, found or loaded."""


class BundleError(SmartrtError):
    """A bundle cannot be read."""


class CorruptBundleError(BundleError):
    """A file of a bundle is missing or is not the file the manifest describes."""


class IndexStoreError(SmartrtError):
    """An index directory cannot be read or written to."""


class UnsupportedFormatError(BundleError, IndexStoreError):
    """A bundle or an index has a newer format version, or a key this version does not know."""


class CorruptIndexError(IndexStoreError):
    """A file of an index is missing or is not the file the manifest describes."""


class BundleMismatchError(IndexStoreError):
    """An index was filled by another bundle: its vectors cannot be compared."""


class StorageError(SmartrtError):
    """The disk is full or refuses to be written."""


class ExportError(SmartrtError):
    """A checkpoint cannot be turned into a bundle."""


class ParityError(ExportError):
    """An exported graph disagrees with the PyTorch reference by more than the tolerance."""


class SaturationWarning(UserWarning):
    """This processor cuts sums of 8-bit products off: int8 vectors differ from those that were verified."""


class PlanWarning(UserWarning):
    """A TensorRT plan is compiled now, which takes minutes."""


class GraphCaptureWarning(UserWarning):
    """The launches of a graph are not replayed as one: results are the same, latency is higher."""


class PlacementWarning(UserWarning):
    """Part of a model may run on the CPU, though a GPU was asked for: this engine does not tell."""


class DeviceWarning(UserWarning):
    """A device that was to be used where it is faster failed, and another one does its work: results are the same."""


class TruncationWarning(UserWarning):
    """A text was longer than the model's maximum length and its end was cut off."""
