# journalctl: a few lines about the host's service.

log "begin journalctl $*"
fault journalctl
mode=
read -r mode _ < "$dir/state/service"
echo "$name systemd[1]: Started the fleet's app."
case $mode in loop | dies | failed) echo "$name app[1]: error: Cannot find module './routes'" ;; *) echo "$name app[1]: listening" ;; esac
finish 0
