# Helpers for bodies. The marker is a plain variable of this shell, never exported: no child process can learn it.

# fact NAME VALUE: reports one value beside the output, wherever standard output points just now.
fact() {
  case $2 in
    *"$rollout_newline"*) set -- "$1" "$(printf '%s' "$2" | tr '\n' ' ')" ;;
  esac
  printf '\n%s fact %s=%s\n' "$rollout_mark" "$1" "$2" >&8
}

# Whole seconds since boot; empty where the system does not tell.
rollout_clock() {
  rollout_now=
  if [ -r /proc/uptime ]; then
    read -r rollout_now _ </proc/uptime
    rollout_now=${rollout_now%%.*}
  fi
}

# rollout_show FILE DESCRIPTOR: the last 64 KiB of a file on a stream, and how much was left out.
rollout_show() {
  rollout_size=$(wc -c <"$1" 2>/dev/null) || return 0
  rollout_size=$((rollout_size))
  if [ "$rollout_size" -gt 65536 ]; then
    printf '\n%s omitted %s %s\n' "$rollout_mark" "$2" "$((rollout_size - 65536))" >&8
  fi
  if [ "$rollout_size" -gt 0 ]; then
    tail -c 65536 <"$1" >&"$2"
  fi
}

# Names a new private folder in rollout_scratch; empty when no disk has room even for that.
rollout_make_scratch() {
  for rollout_scratch in "$rollout_home" "${TMPDIR:-/tmp}" /dev/shm; do
    if [ -n "$rollout_scratch" ] && rollout_scratch=$(mktemp -d "$rollout_scratch/run.XXXXXX" 2>/dev/null); then
      return 0
    fi
  done
  rollout_scratch=
}

# capture SECONDS COMMAND ARGUMENT...: runs a command that must come to its end whatever becomes of the connection.
#
# Its output goes to files first, so that no broken pipe ends it halfway. It has its own process group and a time
# limit, after which the whole group is killed; what the group leaves behind is killed too. SECONDS 0 means none of
# these two: such a command (a restart through sudo) is neither interrupted nor cleaned up after.
# Reports `rc`, and `timed_out` when the limit ended it; returns the exit code.
capture() {
  rollout_limit=$1
  shift
  trap '' HUP PIPE
  rollout_make_scratch
  rollout_out=/dev/null
  rollout_err=/dev/null
  if [ -n "$rollout_scratch" ]; then
    rollout_out=$rollout_scratch/out
    rollout_err=$rollout_scratch/err
  fi
  rollout_clock
  rollout_since=$rollout_now
  rollout_stops=0
  rollout_pid=
  if [ "$rollout_limit" = 0 ]; then
    trap 'rollout_stops=$((rollout_stops + 1))' TERM
    if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; fi
  else
    trap 'rollout_stops=$((rollout_stops + 1)); [ -z "$rollout_pid" ] || kill -TERM "$rollout_pid" 2>/dev/null' TERM
    set -- timeout -k 10 "$rollout_limit" "$@"
  fi
  (
    trap - HUP PIPE TERM
    exec "$@" 8>&-
  ) </dev/null >"$rollout_out" 2>"$rollout_err" &
  rollout_pid=$!
  while :; do
    rollout_before=$rollout_stops
    wait "$rollout_pid"
    rollout_code=$?
    [ "$rollout_before" != "$rollout_stops" ] || break
  done
  if [ "$rollout_limit" != 0 ]; then
    kill -s KILL -- "-$rollout_pid" 2>/dev/null
  fi
  if [ -n "$rollout_scratch" ]; then
    rollout_show "$rollout_out" 1
    rollout_show "$rollout_err" 2
    rm -rf "$rollout_scratch"
  fi
  # A command may end with these codes by itself (137: the kernel, out of memory). Only the clock tells.
  if [ "$rollout_limit" != 0 ] && { [ "$rollout_code" = 124 ] || [ "$rollout_code" = 137 ]; }; then
    rollout_clock
    if [ -z "$rollout_since" ] || [ "$((rollout_now - rollout_since))" -ge "$rollout_limit" ]; then
      fact timed_out 1
    fi
  fi
  fact rc "$rollout_code"
  trap - TERM
  [ "$rollout_stops" = 0 ] || exit 143
  return "$rollout_code"
}
