"""smartrt: run a single-vector embedding model as a late-interaction retriever, without PyTorch.

>>> import smartrt
>>> encoder = smartrt.Encoder.open("minilm.smartrt")
>>> queries = encoder.encode_query(["how do I sort a list by a key?"])
>>> documents = encoder.encode_document(["sorted(iterable, *, key=None, reverse=False)"])
>>> smartrt.score(queries, documents)

The way of the data: `items` and `images` check what comes in, a `backbones` module makes feeds of it and runs its
graphs on an `engines` module, `encoder` returns `types.Embeddings`; `maxsim` and `fusion` score them with `scoring`,
`index` keeps them and `search` ranks them.
"""

from . import errors
from .bundle import Bundle
from .encoder import Encoder
from .errors import (
    DeviceWarning,
    GraphCaptureWarning,
    PlacementWarning,
    PlanWarning,
    SaturationWarning,
    SmartrtError,
    TruncationWarning,
)
from .fusion import Weights, score
from .images.limits import ImageLimits
from .index import Hit, Index, IndexOptions
from .maxsim import maxsim
from .types import Embeddings, TokenStates

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "DeviceWarning",
    "Embeddings",
    "Encoder",
    "GraphCaptureWarning",
    "Hit",
    "ImageLimits",
    "Index",
    "IndexOptions",
    "PlacementWarning",
    "PlanWarning",
    "SaturationWarning",
    "SmartrtError",
    "TokenStates",
    "TruncationWarning",
    "Weights",
    "__version__",
    "errors",
    "maxsim",
    "score",
]
