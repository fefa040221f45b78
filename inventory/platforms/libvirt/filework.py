"""Long file work, as a process of its own: it goes on when its worker dies, and can be killed at any point.

Started by `start`, which holds the machine's lock and hands it over: whoever sees the lock held sees the work in
flight, and the kernel lets go of it the moment this process ends, however it ends.
"""

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from inventory.platforms.libvirt import records
from inventory.platforms.libvirt.images import DiskFull, ImageError
from inventory.platforms.libvirt.layout import Folder, Lock, Unreadable
from inventory.platforms.libvirt.manifest import MAX_DEPTH
from inventory.platforms.libvirt.publish import CannotPublish, Order, publish
from inventory.platforms.libvirt.records import Work, is_disk_full
from ovmst_site.faults import Fault

TOP = Path(__file__).resolve().parents[3]
PUBLISHING = f"publishing a new generation (a full image after {MAX_DEPTH} overlays)"


def start(folder: Folder, lock: Lock, order: Order) -> None:
    """Publish in a process of its own, which takes over the lock. Returns at once."""
    records.begin_work(folder, Work(order.op, PUBLISHING, "running"))
    process = subprocess.Popen(
        [sys.executable, "-m", "inventory.platforms.libvirt.filework", "publish"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=TOP, start_new_session=True, pass_fds=(lock.fd,),
    )  # fmt: skip
    assert process.stdin is not None  # noqa: S101  (it is a pipe)
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(asdict(order)).encode())
    # Somebody must take its exit status; its success is read from the library, not from here.
    threading.Thread(target=process.wait, name=f"publishing {order.key}", daemon=True).start()


def work(order: Order) -> None:
    """Publish and leave a word about how it went; the lock is held already."""
    folder = Folder(order.share, order.key)
    try:
        name = publish(order)
    except DiskFull as error:
        reason = f"the disk is full; nothing was published, the library is as it was ({error})"
    except OSError as error:
        full = "the disk is full; nothing was published, the library is as it was"
        reason = full if is_disk_full(error) else f"{error.strerror}: {error.filename}"
    except (CannotPublish, ImageError, Unreadable, Fault) as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001  (nobody else hears of it: a word must be left)
        reason = f"an error in this tool: {error!r}"
    else:
        records.end_work(folder, Work(order.op, PUBLISHING, "done", name))
        return
    records.end_work(folder, Work(order.op, PUBLISHING, "failed", reason))


if __name__ == "__main__":
    work(Order(**json.loads(sys.stdin.buffer.read())))
