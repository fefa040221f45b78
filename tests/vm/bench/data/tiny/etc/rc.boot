#!/bin/busybox sh
# All that starts this guest; busybox's init then keeps the agent and the SSH server running.
B=/bin/busybox
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
$B mount -t tmpfs -o mode=755 tmpfs /run
$B mount -t tmpfs tmpfs /tmp
$B mkdir -p /dev/pts /dev/virtio-ports /run/lock
$B mount -t devpts devpts /dev/pts
$B hostname "$($B cat /etc/hostname)"
$B ip link set lo up
# There is no udev, which elsewhere makes these names.
for port in /sys/class/virtio-ports/*; do
    [ -s "$port/name" ] && $B ln -sf "../${port##*/}" "/dev/virtio-ports/$($B cat "$port/name")"
done
for card in /sys/class/net/e*; do
    [ -e "$card" ] || continue
    $B ip link set "${card##*/}" up
    $B udhcpc -b -S -i "${card##*/}" -s /etc/udhcpc/script -t 5 -T 1 >/dev/null 2>&1 &
done
exit 0
