"""The bench that `make vm-test` stands on: small Debian guests, package repositories, libvirt hosts.

Everything here is real: Debian's own packages, QEMU, libvirt. What is measured on it is true for machines
of that size, no more.
"""
