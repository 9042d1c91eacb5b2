# Restarts the service and says what it is then like. The restart runs as root: nobody here can end it early.

# `user` is the one that the inspection saw.
is_root() {
  [ "${user:-$(id -u)}" = 0 ]
}

restart() {
  if is_root; then
    capture 0 systemctl restart "$service"
  else
    capture 0 sudo -n systemctl restart "$service"
  fi
}

# A release that crashed at once may have used up the starts that systemd allows in a time; the next start, of the good
# version too, is refused until that time is over or the count is reset, where the user may do that.
out_of_starts() {
  case $(systemctl show -p Result "$service" 2>/dev/null) in
    *start-limit-hit*) return 0 ;;
  esac
  return 1
}

reset_starts() {
  fact start_limit 1
  if is_root; then
    systemctl reset-failed "$service" >/dev/null 2>&1 && return
  else
    sudo -n systemctl reset-failed "$service" >/dev/null 2>&1 && return
  fi
  sleep "$start_limit_wait"
}

restart
code=$?
if [ "$code" != 0 ] && out_of_starts; then
  reset_starts
  restart
  code=$?
fi
sample_unit
if [ "$code" != 0 ]; then show_service; fi
exit "$code"
