#!/bin/sh
# libvirt calls it: NETWORK OPERATION … (with the network's XML to read). A network that was taken away and
# created again gets the bench's leg back, whoever did it.
cat >/dev/null
case "$1 $2" in
"servicing started") ip link set worker master servicing up ;;
"production started") ip link set named master production up ;;
esac
exit 0 # at the host's own start there are no legs yet
