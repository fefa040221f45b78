"""The help pages: docs/help/*.md, the same files that lie in the project, drawn as pages."""

import re
from functools import cache
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt

# Names of pages are ours: nothing else is looked for on the disk.
_NAME = re.compile(r"[a-z0-9-]{1,60}\Z")
# HTML in the files is shown as text; only Markdown's own elements are made.
_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


def help_page(request: HttpRequest, name: str = "index") -> HttpResponse:
    """One help page. 404 for one that isn't there."""
    path = _folder() / f"{name}.md"
    if not _NAME.match(name) or not path.is_file():
        raise Http404(f"There is no help page {name}")
    return render(request, "web/help.html", {"title": title_of(path), "body": _drawn(path), "pages": pages()})


def pages() -> list[tuple[str, str]]:
    """Name and title of every help page, the index first."""
    files = sorted(_folder().glob("*.md"), key=lambda path: (path.stem != "index", path.stem))
    return [(path.stem, title_of(path)) for path in files]


@cache
def title_of(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ").strip()


@cache
def _drawn(path: Path) -> SafeString:
    return SafeString(_markdown.render(path.read_text(encoding="utf-8")))  # our own files, HTML off


def _folder() -> Path:
    return Path(settings.BASE_DIR) / "docs" / "help"
