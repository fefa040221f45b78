"""An engine of threads beside an open page: takes a run on as far as a test wants, over the waits at once."""

import threading
from collections.abc import Callable
from datetime import timedelta

from django.db import connection

from servicing import engine, ledger
from servicing.actions import QUEUE
from servicing.models import RunTarget
from tests.factories import LabSite

LEASE = timedelta(seconds=90)
PATIENCE = 60.0  # seconds
LOOK_EVERY = 0.01  # seconds


class Performer:
    """`until(reached)` performs until that is so; `to_end()` until nothing is due any more."""

    def __init__(self, site: LabSite, threads: int = 2) -> None:
        self._site = site
        self._threads = threads
        self._jumping = threading.Lock()
        self._stop = threading.Event()
        self._errors: list[BaseException] = []

    def to_end(self) -> None:
        self.until(lambda: False)

    def until(self, reached: Callable[[], bool]) -> None:
        """Returns within a step of each thread after `reached` is so, or when nothing is left to do."""
        self._stop.clear()
        threads = [threading.Thread(target=self._work, args=(reached,)) for _ in range(self._threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        hangs = any(thread.is_alive() for thread in threads)
        self._stop.set()
        if self._errors:
            raise self._errors[0]
        assert not hangs, f"the engine has not come there within {PATIENCE:g} s"

    def _work(self, reached: Callable[[], bool]) -> None:
        try:
            while not self._stop.is_set() and not reached():
                with self._jumping:  # a jump right after a claim would let its lease run out
                    leases = ledger.claim(f"{threading.get_ident()}", QUEUE, self._site.clock.now(), LEASE)
                for lease in leases:
                    engine.take_one_step(lease)
                if not leases and not self._jump():
                    return
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self._errors.append(error)
            self._stop.set()
        finally:
            connection.close()

    def _jump(self) -> bool:
        """Over the wait for what is due next; False when nothing is. Not while the other is at a target: its
        lease would run out."""
        with self._jumping:
            if RunTarget.objects.exclude(lease_until=None).exists():
                self._stop.wait(LOOK_EVERY)
                return True
            return self._site.jump_to_next()
