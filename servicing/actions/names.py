"""What two who choose the same name at the same moment are told."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Model


@contextmanager
def one_of_a_name(model: type[Model]) -> Iterator[None]:
    """Round a save alone: the database's "there is one of this name" becomes the ValidationError that its
    constraint has for people. Whoever asked before saving may have asked a moment too early."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        for constraint in model._meta.constraints:
            fields = [f"{model._meta.db_table}.{field}" for field in getattr(constraint, "fields", ())]
            # PostgreSQL names the constraint, SQLite its columns.
            if constraint.name in str(error) or (fields and fields[-1] in str(error)):
                raise ValidationError({"name": constraint.violation_error_message}) from error
        raise
