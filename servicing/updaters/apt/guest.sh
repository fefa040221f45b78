#!/bin/sh
# OVMST's hands inside a guest that is kept up to date by apt.
#   sh guest.sh VERB [ARGUMENT...]      see the end of the file for the verbs
#
# POSIX sh with coreutils, grep, sed, awk, findutils and dpkg, all of which Debian calls essential; systemd is
# used where it runs and not needed. An answer is lines of KEY<TAB>VALUE; the first is `ovmst<TAB>1`, so that
# a shell that couldn't even read this file is told apart from an answer. A verb that was done ends with 0.
#
# Long work is an operation: STATE/OP/ holds `begun` (made once, so that nothing is begun twice), `pid`, the
# output so far, and at the end `result`, which appears whole or not at all.
set -u
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root LC_ALL=C
DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=1 UCF_FORCE_CONFFOLD=1
export PATH HOME LC_ALL DEBIAN_FRONTEND APT_LISTCHANGES_FRONTEND NEEDRESTART_SUSPEND UCF_FORCE_CONFFOLD
unset LANGUAGE LANG APT_CONFIG 2>/dev/null || :

STATE=/var/lib/ovmst
RUN=/run/ovmst
DPKG=/var/lib/dpkg
BOOT=/boot
ARCHIVES=/var/cache/apt/ovmst                  # what we download; the guest's own cache isn't touched
QUIET=/etc/apt/apt.conf.d/99ovmst-quiet        # only where there is no systemd
SYSTEMD=/run/systemd/system                    # there while systemd is process 1
REBOOT_REQUIRED=/run/reboot-required
WAIT_FOR_OTHERS=600                            # seconds for another's installer to end
LARGEST=16000000                               # bytes of one section of a result
OWN_UPDATERS='apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service
unattended-upgrades.service packagekit.service packagekit-offline-update.service'

say() { printf '%s\t%s\n' "$1" "$2"; }
# One printable line of at most 300 bytes from whatever comes in.
line() { tr -c '\040-\176' ' ' | sed 's/ *$//' | cut -c 1-300; }

# A busybox that is the shell prefers its own dpkg, which is no dpkg; this finds the real one.
dpkg() { /usr/bin/env dpkg "$@"; }

boot_id() { cat /proc/sys/kernel/random/boot_id; }
# When the process started, in clock ticks since boot: with its number, this names a process for good.
# Nothing for one that has ended and wasn't waited for.
start_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 !~ /[ZX]/ { print $20 }'; }

stamp() { stat -c '%i/%s/%y' "$DPKG/status" 2>/dev/null; }

# Whether the operation's process still lives.
alive() {
  pid='' started='' boot=''
  [ -s "$STATE/$1/pid" ] && read -r pid started boot <"$STATE/$1/pid" || return 1
  [ "$boot" = "$(boot_id)" ] && [ -n "$started" ] && [ "$(start_of "$pid")" = "$started" ]
}

# Whether it is still at work; one that has written its result is given a moment to leave.
at_work() {
  for _ in 1 2 3 4 5; do
    alive "$1" || return 1
    [ -e "$STATE/$1/result" ] || return 0
    sleep 1
  done
}

# Whether the operation was begun so recently in this boot that its process may not have shown up yet.
just_begun() {
  [ ! -e "$STATE/$1/pid" ] || return 1
  read -r boot at kind <"$STATE/$1/begun" || return 1
  [ "$boot" = "$(boot_id)" ] && [ $(($(cut -d. -f1 /proc/uptime) - at)) -lt 60 ]
}

# Who holds dpkg's locks (every frontend takes one for as long as it installs): process numbers, one a line.
# Fails where the kernel doesn't say.
lock_holders() {
  [ -r /proc/locks ] || return 1
  for lock in "$DPKG/lock-frontend" "$DPKG/lock"; do
    inode=$(stat -c %i "$lock" 2>/dev/null) || continue
    # The device in /proc/locks isn't always the one that stat tells (btrfs), so the file itself decides.
    for pid in $(awk -v inode="$inode" \
      '$2 == "POSIX" { n = split($6, at, ":"); if (at[n] == inode) print $5 }' /proc/locks); do
      for file in "/proc/$pid/fd"/*; do # shellcheck disable=SC3013
        [ "$file" -ef "$lock" ] && echo "$pid" && break
      done
    done
  done
  return 0
}

apt_get() {
  apt-get -q -o APT::Color=0 -o Dpkg::Progress-Fancy=0 -o Dpkg::Use-Pty=0 \
    -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 \
    -o Acquire::ftp::Timeout=30 -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# What would be installed, into a file; `way` is how. dist-upgrade keeps back less than upgrade does (a
# recommended package that no source has is enough for upgrade to keep a kernel back), so it is taken wherever
# it removes nothing. Neither ever removes: what can't be installed without that is kept back, and told.
plan() {
  way=dist-upgrade
  apt_get -s -o Debug::NoLocking=1 --no-remove dist-upgrade >"$1" 2>&1 && return
  way='--with-new-pkgs upgrade'
  # shellcheck disable=SC2086
  apt_get -s -o Debug::NoLocking=1 --no-remove $way >"$1" 2>&1
}

# Status, name and version of every package that is installed or was left unfinished, into a file.
packages() {
  dpkg-query -W -f '${db:Status-Abbrev}\t${binary:Package}\t${Version}\n' >"$1.all" &&
    awk 'substr($0, 2, 1) !~ /[nc]/' "$1.all" >"$1"
}

# What says which kernel runs and which ones are installed.
kernels() {
  say architecture "$(dpkg --print-architecture)"
  say running "$(uname -r)"
  say version "$(uname -v)"
  for image in "$BOOT"/vmlinuz-* "$BOOT"/vmlinux-*; do
    [ -f "$image" ] && say kernel "$(printf %s "${image#"$BOOT"/vmlinu?-}" | line)"
  done
  [ ! -e "$REBOOT_REQUIRED" ] || say reboot-required yes
}

# --- keeping the guest's own updater still --------------------------------------------------------------

# Nothing of this is left in the stored machine: masks in /run go with the shut-down, `tidy` removes the file.
# A timer that is only stopped starts again at the next boot by itself.
quiet() {
  if [ -d "$SYSTEMD" ]; then
    # apt-daily.service refreshes and downloads; it installs nothing, so it may be stopped in the middle.
    systemctl stop apt-daily.timer apt-daily-upgrade.timer apt-daily.service >/dev/null 2>&1
    # shellcheck disable=SC2086
    systemctl mask --runtime --quiet $OWN_UPDATERS >/dev/null 2>&1
    holders=$(lock_holders) || holders=unknown
    # Only while none installs: what installs is waited for, never stopped.
    [ -n "$holders" ] || systemctl stop --no-block unattended-upgrades.service packagekit.service >/dev/null 2>&1
    [ -e "$STATE/failed-before" ] || { mkdir -p "$STATE" && failed_units >"$STATE/failed-before"; }
  elif [ -d "${QUIET%/*}" ]; then
    printf 'APT::Periodic::Enable "0"; // while OVMST updates this machine\n' >"$QUIET" 2>/dev/null
  fi
  return 0
}

failed_units() { systemctl list-units --failed --plain --no-legend --no-pager 2>/dev/null | awk '{ print $1 }'; }

# Whether the guest's own updater is at work.
others_at_work() {
  [ -n "$(lock_holders)" ] && return 0
  [ -d "$SYSTEMD" ] || return 1
  case $(systemctl is-active apt-daily-upgrade.service 2>/dev/null) in active | activating) return 0 ;; esac
  return 1
}

# --- long work ------------------------------------------------------------------------------------------

wait_for_others() {
  waited=0
  while others_at_work; do
    [ "$waited" -lt "$WAIT_FOR_OTHERS" ] || return 1
    echo 'waiting for another installer to end' >>"$dir/log"
    sleep 5
    waited=$((waited + 5))
  done
}

# A part of the result: its name, its length in bytes, then that many bytes. Lengths can't be forged from
# within, as markers between the parts could.
part() {
  size=$(wc -c <"$2") || size=0
  [ "$size" -le "$LARGEST" ] || { say too-big "$1" >>"$dir/meta"; return; }
  printf '%s %s\n' "$1" "$((size + 0))" >>"$dir/parts"
  cat "$2" >>"$dir/parts" && echo >>"$dir/parts"
}

finish() {
  tail -c 60000 "$dir/log" >"$dir/log.end"
  part log "$dir/log.end"
  part meta "$dir/meta"
  echo 'end 0' >>"$dir/parts" && mv "$dir/parts" "$dir/result"
}

# Do something and note how it ended.
noted() {
  name=$1
  shift
  "$@"
  say "$name" $? >>"$dir/meta"
}

scan() {
  # A suite that became old-stable while the machine slept is let pass; another code name is not.
  noted update apt_get -o APT::Update::Error-Mode=any -o Acquire::AllowReleaseInfoChange::Suite=true \
    -o Acquire::AllowReleaseInfoChange::Version=true update >>"$dir/log" 2>&1
  say stamp "$(stamp)" >>"$dir/meta"
  noted plan plan "$dir/plan"
  noted sources apt-cache policy >"$dir/sources" 2>>"$dir/log"
  noted packages packages "$dir/packages" 2>>"$dir/log"
  cut -f2 "$dir/packages" | noted policy xargs -r apt-cache policy >"$dir/policy" 2>>"$dir/log"
  for name in plan sources packages policy; do part "$name" "$dir/$name"; done
}

install() {
  # A machine may have been put away in the middle of an installation; else this does nothing.
  noted configure dpkg --force-confdef --force-confold --configure -a >>"$dir/log" 2>&1 </dev/null
  noted plan plan "$dir/plan"
  mkdir -p "$ARCHIVES/partial"
  # shellcheck disable=SC2086
  noted upgrade apt_get -y -o Dir::Cache::Archives="$ARCHIVES/" -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold --no-remove $way >>"$dir/log" 2>&1
  rm -rf "$ARCHIVES"
  noted audit dpkg --audit >"$dir/audit" 2>&1
  noted packages packages "$dir/packages" 2>>"$dir/log"
  sync
  for name in plan audit packages; do part "$name" "$dir/$name"; done
}

work() {
  dir=$STATE/$1
  # A handler, not `ignore`: what is ignored would be inherited by every service that a package restarts.
  # The shell gets to the handler only when the installer has ended: a shut-down waits for it.
  trap : HUP INT TERM
  printf '%s %s %s\n' $$ "$(start_of $$)" "$(boot_id)" >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
  say format 1 >"$dir/meta"
  say kind "$2" >>"$dir/meta"
  say boot "$(boot_id)" >>"$dir/meta"
  : >"$dir/log" && : >"$dir/parts"
  quiet
  if wait_for_others; then "$2"; else say busy yes >>"$dir/meta"; fi
  kernels >>"$dir/meta"
  finish
}

# --- verbs ----------------------------------------------------------------------------------------------

begin() {
  dir=$STATE/$1
  mkdir -p "$dir" && chmod 755 "$STATE" && chmod 700 "$dir" || { say error "cannot write to $STATE"; return; }
  printf '%s %s %s\n' "$(boot_id)" "$(cut -d. -f1 /proc/uptime)" "$2" >"$dir/begin.$$" &&
    cat "$script" >"$dir/guest.sh.$$" && mv "$dir/guest.sh.$$" "$dir/guest.sh" ||
    { say error "cannot write to $STATE"; return; }
  # A link is made by one caller only, however many come at once.
  ln "$dir/begin.$$" "$dir/begun" 2>/dev/null
  made=$?
  rm -f "$dir/begin.$$"
  [ "$made" = 0 ] || { say begun before; return; }
  [ "$2" = scan ] || sync # so that a crash from here on is told from an installation that was never begun
  if [ -d "$SYSTEMD" ]; then
    # A unit of its own: an upgrade that restarts the agent or the SSH server we came in by doesn't end it.
    # Shutting down waits for an installation, and nothing but the worker itself is ever signalled.
    patience=10
    [ "$2" = scan ] || patience=1800
    set -- --quiet --unit="ovmst-$1" --property=KillMode=process --property=TimeoutStopSec="$patience" \
      /bin/sh "$dir/guest.sh" work "$1" "$2"
    if ! { systemd-run --collect "$@" || systemd-run "$@"; } >"$dir/start" 2>&1 </dev/null; then
      rm -f "$dir/begun"
      say error "systemd-run: $(line <"$dir/start")"
      return
    fi
  else
    setsid /bin/sh "$dir/guest.sh" work "$1" "$2" >"$dir/start" 2>&1 </dev/null &
  fi
  say begun now
}

poll() {
  dir=$STATE/$1
  say boot "$(boot_id)"
  say stamp "$(stamp)"
  read -r boot at kind 2>/dev/null <"$dir/begun" || { say state absent; return; }
  say begun-boot "$boot"
  say kind "$kind"
  # First whether it lives, then whether it has finished: the other way round one that ends between the
  # two questions would look lost.
  lives=no
  if alive "$1" || just_begun "$1"; then lives=yes; fi
  if [ -e "$dir/result" ]; then
    say size "$(($(wc -c <"$dir/result") + 0))"
    say state ended
  elif [ "$lives" = yes ] || { [ "$kind" = install ] && [ -n "$(lock_holders)" ]; }; then
    say state running # perhaps only its installer, its shell being gone
  else
    say state lost
  fi
  say note "$(tail -n 3 "$dir/log" 2>/dev/null | grep -v '^ *$' | tail -n 1 | line)"
}

forget() {
  if at_work "$1"; then say error 'it still runs'; else rm -rf "${STATE:?}/$1" && say forgotten yes; fi
}

# The places apt would refresh from, and whether they answer. At most four servers are asked.
sources() {
  mkdir -p "$RUN"
  apt-get update --print-uris >"$RUN/uris" 2>"$RUN/errors" </dev/null || say trouble "$(tail -n 1 "$RUN/errors" | line)"
  sed -n "s/^'\([^']*InRelease\)' .*/\1/p" "$RUN/uris" >"$RUN/releases"
  asked='' count=0
  while read -r uri; do
    case $uri in
      file:* | copy:*)
        folder=/$(printf %s "${uri#*:}" | sed 's|^/*||; s|/[^/]*$||')
        answer="there is nothing in $folder" # the folder alone may be where nothing is mounted yet
        for file in "$folder"/InRelease "$folder"/Release "$folder"/Packages*; do
          [ ! -e "$file" ] || answer=reached
        done
        ;;
      http://* | https://*)
        server=$(printf %s "$uri" | cut -d/ -f1-3)
        case " $asked " in *" $server "*) continue ;; esac
        asked="$asked $server" count=$((count + 1))
        [ "$count" -le 4 ] || continue
        if timeout 12 /usr/lib/apt/apt-helper -q -o APT::Sandbox::User=root -o Acquire::Retries=0 \
          -o Acquire::http::Timeout=5 -o Acquire::https::Timeout=5 \
          download-file "$uri" "$RUN/probe" >"$RUN/errors" 2>&1 </dev/null; then
          answer=reached
        else
          answer=$(grep -m 1 '^E:' "$RUN/errors" || echo 'no answer in 12 seconds')
        fi
        ;;
      *) answer='' ;;
    esac
    say source "$(printf '%s %s' "$uri" "$answer" | line)"
  done <"$RUN/releases"
  rm -f "$RUN/uris" "$RUN/errors" "$RUN/releases" "$RUN/probe"
}

readiness() {
  [ "$(id -u)" = 0 ] || say error "needs root, and is $(id -un | line)"
  for program in apt-get apt-cache dpkg dpkg-query xargs awk; do
    command -v "$program" >/dev/null || say error "the guest has no $program"
  done
  quiet
  if others_at_work; then
    say busy "$(lock_holders | sort -u | while read -r pid; do tr '\0' ' ' <"/proc/$pid/cmdline"; done | line)"
    return
  fi
  sources
}

installers() {
  holders=$(lock_holders) || { say error 'the kernel does not list its locks'; return; }
  for holder in $holders; do say holder "$holder"; done
  for begun in "$STATE"/*/begun; do
    op=${begun%/begun} op=${op##*/}
    if [ -e "$STATE/$op/result" ] || ! grep -q ' install$' "$begun" 2>/dev/null; then continue; fi
    if alive "$op" || just_begun "$op"; then say operation "$op"; fi
  done
  say asked yes
}

health() {
  dpkg --audit >"$RUN/audit" 2>&1
  say audit $?
  grep -v '^ *$' "$RUN/audit" | head -n 40 | while read -r text; do say problem "$(printf %s "$text" | line)"; done
  packages "$RUN/packages" 2>/dev/null
  say packages $?
  awk -F '\t' 'substr($1, 2, 2) !~ /^i ?$/ { print "unfinished\t" $2 }' "$RUN/packages" | head -n 200
  awk -F '\t' '$2 ~ /^linux-image-/ && substr($1, 2, 1) == "i" { print "image\t" $2 " " $3 }' "$RUN/packages"
  kernels
  awk '{ options[$2] = "," $4 "," }
    END { for (place in options) if (place ~ /^\/(var)?$/ && options[place] ~ /,ro,/) print "readonly\t" place }' \
    /proc/mounts
  if [ -d "$SYSTEMD" ]; then
    failed_units | while read -r unit; do
      grep -qxF -e "$unit" "$STATE/failed-before" 2>/dev/null || say failed "$(printf %s "$unit" | line)"
    done
  fi
  rm -f "$RUN/audit" "$RUN/packages" "$RUN/packages.all"
}

restart() {
  set -- 'shutdown -r now' reboot 'busybox reboot'
  [ ! -d "$SYSTEMD" ] || set -- 'systemctl reboot'
  for command; do
    command -v "${command%% *}" >/dev/null || continue
    # A second later, and not ours to wait for: so that this answer still gets out.
    setsid sh -c "sleep 1; exec $command" >/dev/null 2>&1 </dev/null &
    say restarting yes
    return
  done
  say error 'it has no command to restart with'
}

tidy() {
  for begun in "$STATE"/*/begun; do
    [ -e "$begun" ] || continue
    op=${begun%/begun} op=${op##*/}
    if at_work "$op"; then say error "$op still runs"; return; fi
  done
  rm -rf "$STATE" "$ARCHIVES" "$QUIET" "$RUN" && say tidied yes
}

script=$0
say ovmst 1
case ${1-} in
  begin | poll | forget | work)
    case ${2-} in '' | *[!a-z0-9-]* | -*) say error 'not the name of an operation'; exit 2 ;; esac
    ;;
esac
case "$#:${1-}:${3-}" in
  3:begin:scan | 3:begin:install | 3:work:scan | 3:work:install | 2:poll: | 2:forget:) "$@" ;;
  1:readiness: | 1:installers: | 1:health: | 1:restart: | 1:tidy:) "$@" ;;
  *) say error 'no such verb'; exit 2 ;;
esac
exit 0
