# Moves HEAD and tree from `previous` to `target`: fetch if needed, then a fast-forward (or, with direction=back, a step
# back that destroys nothing). With resume=1 it carries on after one whose outcome is not known.

cd -- "$repo" 2>/dev/null || fail no_repo "there is no folder $repo that the user can enter"
# Stands while HEAD and tree are being moved, and after a move that failed halfway.
marker=$rollout_home/moving

check_start() {
  if [ "$resume" = 1 ]; then
    clear_stale_locks
  elif [ -e "$marker" ]; then
    rm -f "$marker"
  fi
  # A move was cut off: whatever stops us now, the tree is not proven to be as before.
  if [ -e "$marker" ]; then fact half_moved 1; fi
  look_at_tree || fail no_repo "$tree_error"
  case $head in
    "$previous") ;;
    "$target") [ "$resume" = 1 ] || fail concurrent "HEAD was moved to $head by somebody else" ;;
    *) fail concurrent "HEAD was moved to $head by somebody else" ;;
  esac
  [ "$branch" = "$attached" ] || fail concurrent "somebody else switched to ${branch:-a detached HEAD}"
  # Without the marker no move of ours has begun: what is changed, a person changed.
  if [ "$head" = "$previous" ] && [ "$dirty" != 0 ] && [ ! -e "$marker" ]; then fail dirty; fi
}

# Whether the target is here; how it and the previous version stand to each other in ahead and behind.
have_target() {
  if [ "$direction" = back ]; then
    git cat-file -e "$target^{commit}" 2>/dev/null
    return
  fi
  counts=$(git rev-list --left-right --count "$previous...$target" -- 2>/dev/null) || return 1
  ahead=${counts%%[!0-9]*}
  behind=${counts##*[!0-9]}
}

fetch() {
  if [ -z "${GIT_SSH_COMMAND:-}${GIT_SSH:-}" ] && ! git config --get core.sshCommand >/dev/null; then
    GIT_SSH_COMMAND='ssh -oBatchMode=yes'
    export GIT_SSH_COMMAND
  fi
  keep "$limit" git $git_options fetch --no-tags --no-recurse-submodules --quiet -- "$remote" "$1"
}

# leads_there REF: whether the target may be taken from this state of the branch. That it is the branch's was told by one
# host; a remote may give by its hash what is on no branch of its own.
leads_there() {
  [ "$on_branch" = 0 ] || git merge-base --is-ancestor "$target" "$1" 2>/dev/null
}

# Whether a move of ours to this target was begun.
was_moving() {
  moved=
  { read -r moved <"$marker"; } 2>/dev/null
  [ "$moved" = "$previous $target" ]
}

get_target() {
  # What was moved to before had been found on the branch.
  if [ "$resume" = 1 ] && { [ "$head" = "$target" ] || was_moving; }; then on_branch=0; fi
  if [ "$known$resume" != 00 ] && have_target && leads_there "refs/remotes/$remote/$branch_name"; then return; fi
  fetch "refs/heads/$branch_name"
  # The fetch that failed may have left what an earlier one found.
  if have_target && { [ "$code" = 0 ] || [ "$on_branch" = 0 ]; } && leads_there FETCH_HEAD; then return; fi
  case $code,$said in
    0,* | *"couldn't find remote ref"*) ;;
    *) fail fetch ;;
  esac
  if [ "$on_branch" = 1 ]; then fail target_gone "it is not on the branch $branch_name there (any more); to have it all the same, ask for it by its full hash"; fi
  # The branch does not lead there, or not any more. Most servers give a commit by its hash as well.
  fetch "$target"
  have_target || fail target_gone
}

# Tracked generated files go back to what HEAD says.
put_back_generated() {
  [ -n "$regenerated" ] || return 0
  while IFS= read -r file; do
    [ -n "$file" ] || continue
    git checkout --quiet --force HEAD -- ":(top,literal)$file" 2>/dev/null \
      || git rm --quiet -r --force --cached -- ":(top,literal)$file"
  done <<END_OF_REGENERATED
$regenerated
END_OF_REGENERATED
}

# Untracked generated files go away where the target brings its own. Fails when there was none.
clear_generated() {
  set --
  while IFS= read -r file; do
    if [ -n "$file" ] && { [ -e "$file" ] || [ -h "$file" ]; }; then set -- "$@" ":(top,literal)$file"; fi
  done <<END_OF_GENERATED
$generated
END_OF_GENERATED
  [ $# -gt 0 ] || return 1
  added=$(git diff-tree -r --no-renames --name-only --diff-filter=A "$previous" "$target" -- "$@")
  [ -n "$added" ] || return 1
  while IFS= read -r file; do
    rm -f -- "$file"
  done <<END_OF_ADDED
$added
END_OF_ADDED
}

# Files that the target brings and that lie here already are a person's: nothing of ours has written them. Said before
# the first write, for to take a half move back means to remove what the target brought.
refuse_foreign() {
  added=$(git diff-tree -r --no-renames --name-only --diff-filter=A "$previous" "$target") || return 0
  foreign=
  while IFS= read -r file; do
    if [ -n "$file" ] && { [ -e "$file" ] || [ -h "$file" ]; } && ! is_generated "$file"; then
      foreign="$foreign $file"
    fi
  done <<END_OF_ADDED
$added
END_OF_ADDED
  [ -n "$foreign" ] || return 0
  said="error: untracked files would be overwritten by the target:$foreign"
  echo "$said" >&2
  fact refused 1
  fail move
}

move_once() {
  case $direction in
    back) keep "$limit" git $git_options reset --keep --quiet "$target" -- ;;
    # Files that git is told to ignore may be a person's: they are in the way like any other untracked file.
    *) keep "$limit" git $git_options merge --ff-only --no-overwrite-ignore --no-stat --quiet "$target" ;;
  esac
}

no_room() {
  fail keep "No space left on device or no right to write in $rollout_home"
}

move() {
  if [ "$resume" = 1 ] && [ -e "$marker" ]; then
    mark_unproven || no_room
    force_to "$target" "$previous"
  elif [ "$head" = "$target" ]; then
    code=0
  else
    refuse_foreign
    mark_unproven || no_room
    { printf '%s %s\n' "$previous" "$target" >"$marker"; } 2>/dev/null || no_room
    put_back_generated
    move_once
    if [ "$code" != 0 ] && was_refused && clear_generated; then move_once; fi
  fi
}

# Git looks at all files before it writes the first; these are its words when it stopped there.
was_refused() {
  case $said in
    *'would be overwritten by'* | *'would be removed by'* | *'not uptodate. Cannot'* | *'would lose untracked files'*) return 0 ;;
  esac
  return 1
}

report_failed_move() {
  if was_refused; then
    rm -f "$marker"
    if [ -n "$began" ]; then rm -f "$unproven"; fi
    fact refused 1
  fi
  fact move_rc "$code"
  look_at_tree
  present=0
  added=$(git diff-tree -r --no-renames --name-only --diff-filter=A "$previous" "$target") || fail move
  while IFS= read -r file; do
    if [ -n "$file" ] && { [ -e "$file" ] || [ -h "$file" ]; }; then present=$((present + 1)); fi
  done <<END_OF_ADDED
$added
END_OF_ADDED
  fact added_present "$present"
  fail move
}

check_start
# Git's own clean-up must not take the way back away.
kept=$(git update-ref refs/rollout/previous "$previous" 2>&1) || fail keep "$kept"
get_target
if [ "$direction" = forward ]; then
  [ "$ahead" = 0 ] || { [ "$behind" = 0 ] && fail ahead; } || fail diverged
fi
move
if [ "$code" != 0 ]; then report_failed_move; fi
if [ -e "$marker" ]; then rm -f "$marker"; fi
update_submodules || fail submodules
exit 0
