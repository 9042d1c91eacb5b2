# bun: installs what the checked-out release says about itself. It downloads nothing.

log "begin bun $*"
case ${1:-} in
  install | i | ci) ;;
  --version | -v) echo 1.2.19; finish 0 ;;
  *) echo "error: Script not found \"${1:-}\"" >&2; finish 1 ;;
esac
if [ ! -f package.json ]; then
  echo 'error: No package.json was found for directory "'"$PWD"'"' >&2
  finish 1
fi
fault bun-install
echo 'bun install v1.2.19 (stand-in)'
release .
commit .
[ -d node_modules ] || mkdir node_modules || finish 1
# From here to the end a kill leaves a half-written folder, which a service does not start on.
: > node_modules/.installed
case $install in
  ok) ;;
  slow:*) sleep "${install#*:}" ;;
  fail) echo 'error: GET https://registry.example.invalid/left-pad - 503' >&2; finish 1 ;;
  hang) sleep 86400 ;;
  touches_lock) echo "# resolved for $name" >> bun.lock ;;
  noisy:*) head -c "${install#*:}" /dev/zero | tr '\0' 'x' ;;
  # As a postinstall script's daemon would: it keeps every descriptor that it got.
  daemon) if command -v setsid > /dev/null; then setsid sleep 60 & else sleep 60 & fi ;;
esac
printf '%s %s\n' "${release:--}" "${head:--}" > node_modules/.installed
echo '3 packages installed'
finish 0
