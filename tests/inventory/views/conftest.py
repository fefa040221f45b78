"""The same people as look at the pages of servicing."""

from tests.servicing.views.conftest import ada, bob, others_page, page

__all__ = ["ada", "bob", "others_page", "page"]
