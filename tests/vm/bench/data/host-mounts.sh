#!/bin/sh
# host-mounts.sh FOLDER: runs in a mount namespace of its own, puts the folders of this host over the machine's,
# says so by making FOLDER/mounted, and stays, so that the namespace does.
set -eu
folder=$1
mount --bind "$folder/run" /run
mount --bind "$folder/etc" /etc/libvirt
mount --bind "$folder/lib" /var/lib/libvirt
mount --bind "$folder/cache" /var/cache/libvirt
mount --bind "$folder/log" /var/log/libvirt
mount --bind "$folder/localca" /var/lib/swtpm-localca
mount --bind "$folder/swtpm-log" /var/log/swtpm
if [ -e "$folder/kvm" ]; then mount --bind "$folder/kvm" /dev/kvm; fi
: >"$folder/mounted"
exec sleep infinity
