# id: the user of a host is not root, whoever runs the fleet: what needs sudo on a VPS needs it here as well.

case $* in
  -u | --user)
    if [ -n "${LOCAL_FLEET_ROOT:-}" ]; then echo 0; else echo 1000; fi
    exit 0
    ;;
esac
command -p id "$@"
