# Takes HEAD, branch attachment, index and tracked tree back to `previous`, from whatever a failed update left. The
# result counts, not git's exit codes: a stale lock can make it fail after the work is done, and succeed without it.

cd -- "$repo" 2>/dev/null || fail no_repo "there is no folder $repo that the user can enter"
marker=$rollout_home/moving
clear_stale_locks
if ! look_at_tree; then
  case $tree_error in
    *'index file'* | *'bad signature'*)
      rm -f -- "$(git rev-parse --git-path index)"
      look_at_tree || fail no_repo "$tree_error"
      ;;
    *) fail no_repo "$tree_error" ;;
  esac
fi
case $head in
  "$previous" | "$other") ;;
  *) fail concurrent "HEAD was moved to $head by somebody else" ;;
esac

restore_attachment() {
  [ "$branch" != "$attached" ] || return 0
  if [ -z "$attached" ]; then
    git update-ref --no-deref HEAD "$head"
    return
  fi
  tip=$(git rev-parse --verify --quiet "refs/heads/$attached")
  case $tip in
    '' | "$previous" | "$other") git symbolic-ref HEAD "refs/heads/$attached" ;;
    *) fail concurrent "the branch $attached was moved to $tip by somebody else" ;;
  esac
}

# A full disk must not keep a host from going back; then the mark of the way forward still stands.
mark_unproven
restore_attachment
said=
if [ -e "$marker" ] || { [ "$head" = "$previous" ] && [ "$dirty" = 0 ] && [ -n "$regenerated" ]; }; then
  force_to "$previous" "$other"
elif [ "$head" = "$previous" ]; then
  # No move of ours was cut off here: what is changed, somebody else changed.
  if [ "$dirty" != 0 ]; then fail dirty "files were changed by hand"; fi
else
  keep_changes
  keep "$limit" git $git_options reset --hard --quiet "$previous" --
fi
update_submodules
look_at_tree || fail no_repo "$tree_error"
if [ "$head" != "$previous" ] || [ "$branch" != "$attached" ] || [ "$dirty" != 0 ]; then fail move "$said"; fi
if [ -e "$marker" ]; then rm -f "$marker"; fi
exit 0
