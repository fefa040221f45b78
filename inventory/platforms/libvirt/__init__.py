"""The libvirt driver: stored machines in a shared pool, serviced on libvirt hosts.

Read in this order: `layout` (how a share looks), `manifest`, `publish` (the one step that changes what the
library says), `observing`, then `driver`, which puts them together. `helper` alone imports libvirt.
"""
