"""Inventory sync: plan what changed since last time, then apply it in one transaction; each sync is recorded."""

from inventory.sync.applying import apply
from inventory.sync.planning import Plan, plan
from inventory.sync.recording import AlreadySyncing, take_over
from inventory.sync.schedule import why_due
from inventory.sync.syncing import sync

__all__ = ["AlreadySyncing", "Plan", "apply", "plan", "sync", "take_over", "why_due"]
