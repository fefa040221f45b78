"""Lists in pages: sorting and paging by the URL, so that every list can be linked to and works without script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import F, Model, QuerySet
from django.db.models.expressions import OrderBy
from django.http import HttpRequest

M = TypeVar("M", bound=Model)
PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a list. Without `order` it can't be sorted by."""

    label: str
    key: str = ""  # in the URL: ?sort=key, ?sort=-key
    order: tuple[str, ...] = ()  # fields, as for order_by, without sign
    css: str = ""  # "number", "wide-only"


@dataclass(frozen=True, slots=True)
class Heading:
    """A column as the template shows it: where a click on it leads, and how it is sorted now."""

    column: Column
    href: str  # "" where it can't be sorted by
    aria_sort: str  # "ascending", "descending" or ""


class Listing(Generic[M]):
    """One page of `queryset` in the order that the URL asks for.

    What the URL says wrong (a sort that isn't there, a page past the last) falls back to the default, so an
    old link still shows something. Rows with no value come last in both directions; the primary key
    decides between equals, so that no row is on two pages or on none.
    """

    def __init__(
        self,
        request: HttpRequest,
        queryset: QuerySet[M],
        columns: Sequence[Column],
        *,
        sort: str,
        per_page: int = PER_PAGE,
    ) -> None:
        self._request = request
        self._columns = columns
        by_key = {column.key: column for column in columns if column.order}
        asked = request.GET.get("sort", sort)
        self.sort = asked if asked.removeprefix("-") in by_key else sort
        column = by_key[self.sort.removeprefix("-")]
        down = self.sort.startswith("-")
        order: list[OrderBy | str] = [
            F(name).desc(nulls_last=True) if down else F(name).asc(nulls_last=True) for name in column.order
        ]
        paginator = Paginator(queryset.order_by(*order, "-pk" if down else "pk"), per_page)
        self.page: Page[M] = paginator.get_page(request.GET.get("page"))
        self.total = paginator.count

    @property
    def headings(self) -> list[Heading]:
        made = []
        for column in self._columns:
            current = column.key and self.sort.removeprefix("-") == column.key
            down = self.sort.startswith("-")
            following = f"-{column.key}" if current and not down else column.key
            href = self.href(sort=following, page=None) if column.order else ""
            aria = ("descending" if down else "ascending") if current else ""
            made.append(Heading(column, href, aria))
        return made

    @property
    def previous(self) -> str:
        return self.href(page=str(self.page.previous_page_number())) if self.page.has_previous() else ""

    @property
    def following(self) -> str:
        return self.href(page=str(self.page.next_page_number())) if self.page.has_next() else ""

    def href(self, **changes: str | None) -> str:
        """This page's address with some of its parameters changed; None takes one away."""
        query = self._request.GET.copy()
        for name, value in changes.items():
            if value is None:
                query.pop(name, None)
            else:
                query[name] = value
        return f"{self._request.path}?{query.urlencode()}"
