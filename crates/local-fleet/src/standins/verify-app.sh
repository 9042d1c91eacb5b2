# verify-app: the app's own check, as an operator would name it for a verify command.

log "begin verify-app $*"
fault verify-app
release "$dir/app"
case $verify in
  ok) echo 'app answers'; finish 0 ;;
  slow:*) sleep "${verify#*:}"; finish 0 ;;
  *) echo 'app does not answer' >&2; finish 1 ;;
esac
