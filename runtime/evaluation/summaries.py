"""A docstring in two: the summary, which can ask for what it is about, and the rest, which can be found by it."""

from __future__ import annotations

import re

LEFT = 80
"""Characters of a document, its heading aside; a shorter rest says too little to be found by."""

_WORDS = range(4, 41)  # fewer ask for nothing in particular, more are a list or a text without a full stop
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"[.!?](?=\s+[A-Z])")  # not the points of "e.g. a list"


def split_summary(docstring: str) -> tuple[str, str]:
    """The first sentence on one line, and what follows it, without the white space around it."""
    paragraph = _PARAGRAPH.search(docstring)
    end = paragraph.start() if paragraph else len(docstring)
    sentence = _SENTENCE.search(docstring, 0, end)
    end = sentence.end() if sentence else end
    return " ".join(docstring[:end].split()), docstring[end:].strip()


def asks_for(summary: str, document: str) -> bool:
    """Whether a summary can be a query for `document`: 4 to 40 words that do not stand there as they are."""
    return len(summary.split()) in _WORDS and not stands_in(summary, document)


def stands_in(summary: str, text: str) -> bool:
    """Whether `text` holds the summary, whatever its white space, its case and its last full stop."""
    return summary_key(summary) in summary_key(text)


def summary_key(text: str) -> str:
    """What is equal for summaries that ask the same."""
    return " ".join(text.split()).rstrip(".").casefold()
