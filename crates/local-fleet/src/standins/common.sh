#!/bin/sh
# Part of a host that only exists for a demo, a test or a benchmark. It changes nothing outside its own folder.
# Written to start no process unless it must: thousands of these run at once.

dir=${LOCAL_FLEET_HOST:-${0%/*/*}}
name=${dir##*/}
tool=${0##*/}
late=

# Centiseconds since boot in $now.
clock() {
  if read -r now _ 2>/dev/null < /proc/uptime; then now=${now%.*}${now#*.}; else now=$(date +%s)00; fi
}

# One line of the host's log: when, pid, begin or end, and the rest.
log() {
  [ -z "${LOCAL_FLEET_QUIET:-}" ] || return 0
  clock
  printf '%s %s %s\n' "$now" "$$" "$*" >> "$dir/log"
}

# Leaves with this status, or with the one a fault wants in its place.
finish() {
  status=${late:-$1}
  log "end $tool $status"
  exit "$status"
}

# Acts out the fault set at this point, if there is one and it is its turn.
fault() {
  [ -e "$dir/faults/$1" ] && [ -z "${LOCAL_FLEET_QUIET:-}" ] || return 0
  read -r fault_does fault_value fault_turn fault_number fault_says < "$dir/faults/$1" || return 0
  fault_seen=0
  if [ -e "$dir/faults/$1.seen" ]; then read -r fault_seen < "$dir/faults/$1.seen" || fault_seen=0; fi
  fault_seen=$((fault_seen + 1))
  printf '%s\n' "$fault_seen" > "$dir/faults/$1.seen"
  case $fault_turn in
    only) [ "$fault_seen" -eq "$fault_number" ] || return 0 ;;
    first) [ "$fault_seen" -le "$fault_number" ] || return 0 ;;
  esac
  case $fault_does in
    exit) printf '%s\n' "$fault_says" >&2; finish "$fault_value" ;;
    hang) sleep "$fault_value" ;;
    kill) kill -KILL "$$" ;;
    late) late=$fault_value ;;
  esac
}

# Seconds, perhaps with a fraction, as centiseconds in $centi.
centiseconds() {
  case $1 in
    *.*) centi=${1#*.}00; centi=$((${1%.*} * 100 + 1${centi%"${centi#??}"} - 100)) ;;
    *) centi=$(($1 * 100)) ;;
  esac
}

# What the release checked out in folder $1 does on this host: $service, $install, $verify, $release.
release() {
  service=ok install=ok verify=ok release= broken=
  while IFS='=' read -r key value; do
    case $key in
      service) service=$value ;;
      install) install=$value ;;
      verify) verify=$value ;;
      release) release=$value ;;
      broken_hosts) broken=$value ;;
    esac
  done 2>/dev/null < "$1/app.conf"
  case ",$broken," in ,, | *",$name,"*) ;; *) service=ok install=ok verify=ok ;; esac
}

# The commit that HEAD of folder $1 names, read without starting git, in $head.
commit() {
  head=
  read -r head 2>/dev/null < "$1/.git/HEAD" || return 0
  case $head in 'ref: '*) branch=${head#ref: } ;; *) return 0 ;; esac
  head=
  if read -r head 2>/dev/null < "$1/.git/$branch"; then return 0; fi
  while read -r hash ref; do
    if [ "$ref" = "$branch" ]; then head=$hash; fi
  done 2>/dev/null < "$1/.git/packed-refs"
}
