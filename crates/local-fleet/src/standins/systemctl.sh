# systemctl: one unit, whose state is worked out from when and on what it was started. No process stands behind it.

log "begin systemctl $*"
arguments=$*
verb= units= properties= value_only= quiet= block=1
while [ $# -gt 0 ]; do
  case $1 in
    -p | --property) [ $# -gt 1 ] && { properties=$properties,$2; shift; } ;;
    -p?*) properties=$properties,${1#-p} ;;
    --property=*) properties=$properties,${1#*=} ;;
    --value) value_only=1 ;;
    -q | --quiet) quiet=1 ;;
    --no-block) block= ;;
    -n | -o | --lines | --output) [ $# -gt 1 ] && shift ;;
    -n?* | -o?* | --lines=* | --output=* | --job-mode=*) ;;
    --no-pager | -l | --full | -a | --all | --system | --no-ask-password | --plain | --no-legend | --) ;;
    --version) echo 'systemd 252 (252.0-stand-in)'; finish 0 ;;
    -*) echo "systemctl: unrecognized option '$1'" >&2; finish 1 ;;
    *) if [ -z "$verb" ]; then verb=$1; else units="$units $1"; fi ;;
  esac
  shift
done
case $verb in '' | *[!a-z-]*) echo "Unknown command verb '$verb'." >&2; finish 1 ;; esac
fault "systemctl-$verb"

{ read -r own_unit; read -r start_limit; read -r stop_limit; } < "$dir/state/unit"

# Whether unit $1 is the one of this host; its name with a suffix in $unit.
known() {
  case $1 in *.*) unit=$1 ;; *) unit=$1.service ;; esac
  [ "$unit" = "$own_unit" ] && [ ! -e "$dir/faults/unit_missing" ]
}

# Works the unit's state out, for now.
look() {
  load=loaded unit_file=enabled active=inactive sub=dead main_pid=0 restarts=0 invocation= entered=0 result=success
  if ! known "$1"; then load=not-found unit_file=; return 0; fi
  if [ -e "$dir/faults/unit_masked" ]; then load=masked unit_file=masked; fi
  mode= tries=0
  # A restart truncates the file and then writes one line: between the two it is empty.
  until read -r mode first second since start pid _ < "$dir/state/service" || [ $tries -gt 1000 ]; do tries=$((tries + 1)); done
  clock
  life=0 elapsed=$((now - since))
  case $mode in stopped | '') return 0 ;; esac
  if [ $elapsed -lt 0 ]; then active=deactivating sub=stop-sigterm; return 0; fi
  case $mode in
    ok) active=active sub=running ;;
    slow) if [ $elapsed -lt "$first" ]; then active=activating sub=start; else active=active sub=running since=$((since + first)); fi ;;
    dies) if [ $elapsed -lt "$first" ]; then active=active sub=running; else active=failed sub=failed result=exit-code; fi ;;
    failed) active=failed sub=failed result=exit-code ;;
    loop)
      life=$((elapsed / (first + second))) restarts=$life
      since=$((since + life * (first + second)))
      if [ $((now - since)) -lt "$first" ]; then
        active=active sub=running
      else
        active=activating sub=auto-restart result=exit-code
      fi
      ;;
  esac
  case $sub in running | start) main_pid=$((pid + life)) ;; esac
  if [ "$mode" != failed ]; then entered=$((since * 10000)); fi
  invocation=$(printf '%s%08x' "$start" $life)
}

# Writes the state of a service started now on what is checked out, with the start $1 centiseconds from now.
begin_service() {
  repository=$dir/app
  release "$repository"
  commit "$repository"
  clock
  first=0 second=0
  case $service in
    ok) mode=ok ;;
    crash_loop) mode=loop first=10 second=10 ;;
    crash_loop:*)
      mode=loop
      centiseconds "${service##*:}"; second=$centi
      first=${service#*:}; centiseconds "${first%%:*}"; first=$centi
      ;;
    dies_after:*) mode=dies; centiseconds "${service#*:}"; first=$centi ;;
    slow_start:*) mode=slow; centiseconds "${service#*:}"; first=$centi ;;
    *) mode=failed ;;
  esac
  # Code that is not there or only half installed does not start.
  installed=
  if [ -z "$release" ] || ! read -r installed 2>/dev/null < "$repository/node_modules/.installed"; then mode=failed; fi
  printf '%s %s %s %s %08x%08x%08x %s %s %s %s\n' "$mode" "$first" "$second" "$((now + $1))" "$now" "$$" "$1" "$$" \
    "${head:--}" "${release:--}" "${installed:--}" > "$dir/state/service"
}

need_root() {
  [ -n "${LOCAL_FLEET_ROOT:-}" ] && return 0
  echo "Failed to $verb $1: Interactive authentication required." >&2
  finish 1
}

need_unit() {
  if ! known "$1"; then echo "Failed to $verb $unit: Unit $unit not found." >&2; finish 5; fi
  if [ -e "$dir/faults/unit_masked" ]; then echo "Failed to $verb $unit: Unit $unit is masked." >&2; finish 1; fi
}

start_service() {
  wait=0
  # The stop before the start takes its time when the fault says so; the job goes on even if this client is killed.
  if [ -e "$dir/faults/slow_stop" ]; then read -r wait_seconds < "$dir/faults/slow_stop"; centiseconds "$wait_seconds"; wait=$centi; fi
  begin_service "$wait"
  [ -n "$block" ] || return 0
  if [ "$wait" -gt 0 ]; then sleep "$wait_seconds"; fi
  case $mode in
    slow) sleep "${service#*:}" ;;
    failed)
      echo "Job for $unit failed because the control process exited with error code." >&2
      echo "See \"systemctl status $unit\" and \"journalctl -xeu $unit\" for details." >&2
      finish 1
      ;;
  esac
}

show() {
  for property in "Type=notify" "Restart=always" "NotifyAccess=main" "TimeoutStartUSec=$start_limit" "TimeoutStopUSec=$stop_limit" \
    "MainPID=$main_pid" "Result=$result" "NRestarts=$restarts" "Id=$unit" "LoadState=$load" "ActiveState=$active" \
    "SubState=$sub" "UnitFileState=$unit_file" "ActiveEnterTimestampMonotonic=$entered" "InvocationID=$invocation"; do
    case ",$properties," in
      ,, | *",${property%%=*},"*) if [ -n "$value_only" ]; then echo "${property#*=}"; else echo "$property"; fi ;;
    esac
  done
}

code=0
case $verb in
  is-active)
    [ -n "$units" ] || { echo 'Too few arguments.' >&2; finish 1; }
    code=4
    for unit in $units; do
      look "$unit"
      [ -n "$quiet" ] || echo "$active"
      case $load,$active in
        *,active) code=0 ;;
        not-found,*) ;;
        *) [ $code -eq 4 ] && code=3 ;;
      esac
    done
    ;;
  is-failed)
    look "${units# }"
    [ -n "$quiet" ] || echo "$active"
    [ "$active" = failed ] || code=1
    ;;
  show)
    [ -n "$units" ] || units=' -.slice'
    for unit in $units; do look "$unit"; show; done
    ;;
  restart | start | try-restart)
    need_root "${units# }"
    need_unit "${units# }"
    look "${units# }"
    if [ "$verb" != start ] || [ "$active" != active ]; then start_service; fi
    ;;
  stop)
    need_root "${units# }"
    need_unit "${units# }"
    echo 'stopped 0 0 0 - 0 - - -' > "$dir/state/service"
    ;;
  reset-failed)
    need_root "${units# }"
    need_unit "${units# }"
    look "${units# }"
    if [ "$active" = failed ]; then echo 'stopped 0 0 0 - 0 - - -' > "$dir/state/service"; fi
    ;;
  status)
    look "${units# }"
    if [ $load = not-found ]; then echo "Unit $unit could not be found." >&2; finish 4; fi
    echo "* $unit - the fleet's app"
    echo "     Loaded: $load (/etc/systemd/system/$unit; $unit_file)"
    echo "     Active: $active ($sub)"
    [ "$main_pid" = 0 ] || echo "   Main PID: $main_pid (app)"
    [ "$active" = active ] || code=3
    ;;
  cat) known "${units# }" || { echo "No files found for $unit." >&2; finish 1; }; echo "# /etc/systemd/system/$unit" ;;
  daemon-reload) need_root '' ;;
  is-system-running) echo running ;;
  *) echo "Unknown command verb '$verb'." >&2; finish 1 ;;
esac
finish $code
