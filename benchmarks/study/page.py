"""OUT/index.html: a whole study as one page that loads nothing, with or without a script, on paper or on a phone."""

from __future__ import annotations

from importlib import resources
from typing import Any

from .finding import finding
from .markup import Content, Html, markup, tag
from .page_accuracy import accuracy
from .page_latency import latency
from .page_method import machine, method, raw
from .page_variants import charts, variants
from .panels import where
from .quantities import count

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""What the browser is told to enforce: this page asks nobody for anything."""


def render(study: dict[str, Any]) -> str:
    """The page of a study.

    Args:
        study: The result of `smartrt bench study`. All text of it is data: it is escaped.

    Returns:
        HTML, the same for the same study.
    """
    sections = {
        "trade-offs": ("Trade-offs", charts(study)),
        "variants": ("Variants", variants(study)),
        "latency": ("Latency", latency(study["latency"])),
        "accuracy": ("Accuracy", accuracy(study["accuracy"])),
        "machine": ("Machine", machine(study["latency"]["machine"])),
        "method": ("How it was measured", method(study)),
        "raw": ("Configuration and machine as JSON", raw(study)),
    }
    body = tag(
        "body",
        _masthead(study, {name: title for name, (title, _) in sections.items()}),
        tag("main", [_section(name, title, content) for name, (title, content) in sections.items()]),
        tag("script", _asset("page.js")),
    )
    return f"<!doctype html>\n{tag('html', _head(study), body, lang='en')}\n"


def _head(study: dict[str, Any]) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", study["title"]),
        tag("style", _asset("page.css")),
    )


def _masthead(study: dict[str, Any], sections: dict[str, str]) -> Html:
    found = finding(study)
    described = study["latency"]["machine"]
    links = [tag("a", title, href=f"#{name}") for name, title in sections.items()]
    computer = f"{described['cpu']}, {count(described['cores'], 'core')}, {described['system']}"
    under = f"{computer}. Times, unless said otherwise: {where(study)}."
    return tag(
        "header",
        tag(
            "p",
            "smartrt benchmark study",
            tag("button", "Theme", id="theme", type="button", hidden=True),
            class_="kicker",
        ),
        tag("h1", study["title"]),
        tag("p", tag("strong", found.subject), found.predicate, class_="finding"),
        tag("p", " ".join(found.remarks), class_="remarks") if found.remarks else None,
        tag("p", under, class_="note"),
        tag(
            "pre", tag("code", study["command"]), class_="command", tabindex="0", aria_label="The command of this study"
        ),
        tag("nav", links, aria_label="Contents"),
    )


def _section(name: str, title: str, content: Content) -> Html:
    return tag("section", tag("h2", title), content, id=name)


def _asset(name: str) -> Html:
    """A file of ``assets``, which is ours and goes into the page as it is."""
    return markup(Html((resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")))
