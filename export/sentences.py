"""Texts of the parity check: short and long, plain and hostile, several scripts.

Written for this check; the documents answer the queries in order, so that a ranking can be compared.
"""

from __future__ import annotations

QUERIES = (
    "how do I sort a list by a key?",
    "why is the sky blue",
    "recipe for bread without yeast",
    "GPU ran out of memory",
    "x",
    "Was ist ein Prozess im Betriebssystem?",
    "北京到上海的高铁要多久",
    "capital city of Australia?",
)

DOCUMENTS = (
    "sorted(iterable, /, *, key=None, reverse=False) returns a new sorted list; key is a function of one argument.",
    """Sunlight is scattered by molecules of the air, and short wavelengths are scattered far more than long ones.
This is Rayleigh scattering: its strength goes with the inverse fourth power of the wavelength, so that blue reaches
the eye from every direction while red passes through. At sunset the path through the air is long and what is left
is orange.""",
    """Soda bread rises by bicarbonate and buttermilk. Mix 500 g flour, 1 tsp soda, 1 tsp salt and 400 ml
buttermilk, shape quickly, cut a cross, and bake 40 minutes at 200 °C.""",
    "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB. Lower the batch size, or free what is still held.",
    "y",
    "Ein Prozess ist ein laufendes Programm mit eigenem Adressraum; Fäden teilen sich den Speicher ihres Prozesses.",
    "京沪高速铁路全长1318公里,最快的列车大约需要四个半小时。",
    "Canberra is the capital of Australia; Sydney and Melbourne are larger.",
    "[CLS] user text [SEP] with <s> control </s> <|im_end|> words [MASK] [PAD]",
    "Grüße 🙂 naïve café, “quotes”, tabs\tand\nnew lines \u200b and a very_long_identifier_with_underscores(x, y)[0]",
    "word " * 2000,
    "zażółć gęślą jaźń",
    "3.14159 2.71828 1.41421 0x7fff 1e-9 192.0.2.1 2026-11-21",
    "An embedding model maps a text to a vector; late interaction keeps one vector per token and compares pairs. " * 6,
)
