"""What the driver's parts raise, turned into the three faults that callers know."""

from collections.abc import Iterator
from contextlib import contextmanager

from inventory.platforms.base import OperationId
from inventory.platforms.libvirt import records
from inventory.platforms.libvirt.domain_xml import BadDescription
from inventory.platforms.libvirt.hosts import LibvirtError, NotOurs
from inventory.platforms.libvirt.images import DiskFull, ImageError
from inventory.platforms.libvirt.layout import OPERATION, Unreadable
from ovmst_site.faults import GiveUp, NeedsAttention, TryLater


def check_op(op: OperationId) -> None:
    """An operation's name becomes part of file names."""
    if not OPERATION.fullmatch(op):
        raise NeedsAttention(f"{op!r} can't name an operation")


@contextmanager
def plain_faults() -> Iterator[None]:
    """Turn what the parts raise into the three faults that callers know."""
    try:
        yield
    except Unreadable as error:
        raise NeedsAttention(f"it can't be read: {error}") from error
    except BadDescription as error:
        raise NeedsAttention(str(error)) from error
    except NotOurs as error:
        raise NeedsAttention(str(error)) from error
    except LibvirtError as error:
        raise TryLater(str(error)) from error
    except DiskFull as error:
        raise GiveUp(f"no space is left on the disk of its library share: {error}") from error
    except ImageError as error:
        raise GiveUp(f"an image can't be worked with: {error}") from error
    except OSError as error:
        if records.is_disk_full(error):
            where = f" ({error.filename})" if error.filename else ""
            raise GiveUp(f"no space is left on the disk of its library share{where}") from error
        raise TryLater(f"{error.strerror}: {error.filename}") from error
