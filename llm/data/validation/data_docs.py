"""Great Expectations' Data Docs as pages that need no network and are the same for the same verdict.

The contents are rendered by Great Expectations. The frame around them is ours, because its own page loads styles and
scripts from six hosts, asks the reader to subscribe, and holds times and random ids. With these every run's product
would have another address.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ page_title | e }}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c1e21 }
nav a { margin-right: 1rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { border: 1px solid #d0d4da; padding: .35rem .6rem; text-align: left; vertical-align: top }
td table { width: auto; margin: .3rem 0; font-size: .9em }
.badge { background: #eef1f5; border-radius: 3px; padding: 0 .35em; font: .9em ui-monospace, monospace }
.alert { padding: .6rem 1rem; border-left: 4px solid #c9ced6 }
.fa-check-circle::before { content: "\\2713"; color: #17803d; font-style: normal; font-weight: bold }
.fa-times::before, .fa-times-circle::before { content: "\\2717"; color: #c0262d; font-style: normal; font-weight: bold }
.fa-exclamation-triangle::before { content: "\\26A0"; color: #a15c00; font-style: normal }
</style>
</head>
<body>
<nav>{% for name, title in links %}<a href="{{ name }}">{{ title }}</a>{% endfor %}</nav>
<h1>{{ page_title | e }}</h1>
{% for section in sections %}{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}
</body>
</html>
"""
LINKS = (("index.html", "Verdict"), ("suite.html", "Suite"))


def write_data_docs(folder: Path, suite: Any, result: Any) -> None:
    """Write `index.html` (the validation result) and `suite.html` (what was expected)."""
    from great_expectations.render.renderer import page_renderer

    pages: dict[str, tuple[str, Any, Any]] = {
        "index.html": (f"Validation by suite {suite.name}", page_renderer.ValidationResultsPageRenderer(), result),
        "suite.html": (f"Suite {suite.name}", page_renderer.ExpectationSuitePageRenderer(), suite),
    }
    folder.mkdir()
    for name, (title, renderer, subject) in pages.items():
        (folder / name).write_text(_page(title, renderer.render(subject)), encoding="utf-8")


def _page(title: str, content: Any) -> str:
    """A rendered document in our frame, with ids counted instead of drawn."""
    from great_expectations.render.view.view import DefaultJinjaPageView

    view = DefaultJinjaPageView()
    numbers = itertools.count(1)
    view.env.filters["generate_html_element_uuid"] = lambda prefix=None: f"{prefix or ''}{next(numbers)}"
    document = _escaped(content.to_json_dict()) | {"page_title": title, "links": LINKS}
    page = view.env.from_string(PAGE).render(document)
    return re.sub(r'href="(\.\./)+expectations/[^"]*"', 'href="suite.html"', page)  # its links assume its own folders


def _escaped(value: Any) -> Any:
    """The same document with every text in it safe for HTML: Great Expectations' templates escape nothing."""
    if isinstance(value, str):
        return html.escape(value, quote=False)
    if isinstance(value, Mapping):
        return {key: _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list | tuple) else value
