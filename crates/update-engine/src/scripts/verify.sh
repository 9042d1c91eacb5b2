# Looks whether the service is active and still in the life that `seen_*` tell of, whether the app's own check succeeds,
# and where HEAD and tree are. Reports facts; the engine decides. With `proves`, a commit, install and restart went well
# before: if all is well on that commit, the mark that says otherwise goes.

cd -- "$repo" 2>/dev/null || fail no_repo "there is no folder $repo that the user can enter"
word=$(systemctl is-active "$service" 2>/dev/null)
fact is_active "$word"
well=0
if [ "$word" = active ]; then
  well=1
  if [ -n "$verify" ]; then
    capture "$limit" sh -c "exec 9>&-$newline$verify"
    code=$?
    fact verify_rc "$code"
    [ "$code" = 0 ] || well=0
  fi
fi
sample_unit
case $newline$unit$newline in
  *"${newline}NRestarts=$seen_restarts$newline"*) ;;
  *) [ -z "$seen_restarts" ] || well=0 ;;
esac
case $newline$unit$newline in
  *"${newline}InvocationID=$seen_invocation$newline"*) ;;
  *) [ -z "$seen_invocation" ] || well=0 ;;
esac
look_at_tree || fact tree_error "$tree_error"
if [ "$well" != 1 ]; then
  show_service
elif [ -n "$proves" ] && [ "$head" = "$proves" ] && [ "$dirty" = 0 ]; then
  rm -f "$rollout_home/unproven"
fi
exit 0
