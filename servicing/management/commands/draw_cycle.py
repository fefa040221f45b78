"""manage.py draw_cycle: the cycle as a diagram, from its tables."""

from itertools import pairwise
from typing import Any

from django.core.management.base import BaseCommand

from servicing import cycle


class Command(BaseCommand):
    help = "Print the cycle as a Mermaid diagram, drawn from the tables in cycle.py."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("flowchart TD")
        for direction, table in cycle.TABLES.items():
            self.stdout.write(f"  subgraph {direction.upper()}")
            for step in table:
                doc = (step.does.__doc__ or "").strip().splitlines()[0].rstrip(".").replace('"', "'")
                patience = f"patience {step.patience}" if step.patience else "waits for ever"
                self.stdout.write(f'    {direction}_{step.name}["<b>{step.name}</b><br>{doc}<br>{patience}"]')
            for step, following in pairwise(table):
                self.stdout.write(f"    {direction}_{step.name} --> {direction}_{following.name}")
            self.stdout.write("  end")
        first = cycle.RETURN[0].name
        for step in cycle.FORWARD:
            if step.name not in cycle.CHANGES_NOTHING:
                self.stdout.write(f"  forward_{step.name} -. failure, time-out, cancel .-> return_{first}")
        self.stdout.write("  forward_restart -. another round .-> forward_ready")
        self.stdout.write("  forward_restart -. another round .-> forward_scan")
        self.stdout.write('  forward_preflight -. refused .-> skipped(["skipped"])')
        self.stdout.write('  forward_release --> succeeded(["succeeded or partial"])')
        self.stdout.write('  return_release --> restored(["restored"])')
        self.stdout.write('  RETURN -. out of patience .-> attention(["needs attention"])')
