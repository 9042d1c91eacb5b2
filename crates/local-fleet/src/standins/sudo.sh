# sudo: runs the rest, or refuses as one without a password would.

log "begin sudo $*"
list=
while [ $# -gt 0 ]; do
  case $1 in
    -l | --list) list=1 ;;
    -n | -E | -H | -k | -S | -b | --non-interactive) ;;
    -nl | -ln) list=1 ;;
    -u | -g | --user | --group) shift ;;
    --) shift; break ;;
    -*) ;;
    *) break ;;
  esac
  shift
done
if [ -e "$dir/faults/no_sudo" ]; then
  echo 'sudo: a password is required' >&2
  finish 1
fi
fault sudo
if [ -n "$list" ]; then
  if [ $# -gt 0 ]; then echo "$*"; else echo "User may run the following commands on $name: (ALL) NOPASSWD: ALL"; fi
  finish 0
fi
if [ $# -eq 0 ]; then echo 'usage: sudo [-n] [-l] command' >&2; finish 1; fi
if ! command -v "$1" > /dev/null; then echo "sudo: $1: command not found" >&2; finish 1; fi
# Rules name absolute paths; here they mean the stand-in.
case $1 in /*/systemctl) shift; set -- "$dir/bin/systemctl" "$@" ;; esac
export LOCAL_FLEET_ROOT=1
# The real one leaves the command no descriptor but the first three, so a lock held on one of them ends here.
if [ -z "$late" ]; then
  log "end sudo 0"
  exec "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
fi
"$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
finish $?
