# For the two bodies that move HEAD. They run under the host's lock: no other command of ours is at work.

# keep SECONDS COMMAND...: capture, with what it said on standard error also in said. Leaves the exit code in code.
keep() {
  # A full disk must not keep the command itself from running.
  said_file=$rollout_home/said
  # Not with ':', a special builtin: when its redirection fails, the shell itself ends.
  { printf '' >"$said_file"; } 2>/dev/null || said_file=/dev/null
  capture "$@" 2>"$said_file"
  code=$?
  said=
  if [ -s "$said_file" ]; then
    cat "$said_file" >&2
    said=$(tail -c 4000 "$said_file")
  fi
}

# Whether a git process of this user has its working directory in the repository. None of ours can: they hold the lock.
git_is_at_work() {
  top=$(pwd -P)
  for process in /proc/[0-9]*; do
    name=
    { read -r name <"$process/comm"; } 2>/dev/null
    case $name in
      git*) ;;
      *) continue ;;
    esac
    place=$(readlink "$process/cwd" 2>/dev/null) || continue
    case $place/ in
      "$top"/*) return 0 ;;
    esac
  done
  return 1
}

# Removes the lock files that a killed git left behind.
clear_stale_locks() {
  places=$(git rev-parse --absolute-git-dir --git-common-dir 2>/dev/null) || return 0
  git_dir=${places%%"$newline"*}
  common_dir=${places#*"$newline"}
  set --
  for lock in "$git_dir/index.lock" "$git_dir/HEAD.lock" "$git_dir/ORIG_HEAD.lock" "$common_dir/packed-refs.lock" \
    "$common_dir/shallow.lock" "$common_dir/refs/heads/$attached.lock" "$common_dir/refs/rollout/previous.lock"; do
    if [ -e "$lock" ]; then set -- "$@" "$lock"; fi
  done
  [ $# -gt 0 ] || return 0
  for second in 1 2 3 4 5; do
    git_is_at_work || break
    sleep 1
  done
  if git_is_at_work; then
    fact locks_kept "$*"
  else
    rm -f -- "$@" && fact locks_removed "$*"
  fi
}

# update_submodules: for a repository that has some, whichever way HEAD moved.
update_submodules() {
  [ -e .gitmodules ] || return 0
  keep "$limit" git $git_options submodule --quiet update --init --recursive --force
  return "$code"
}

# Stands from before HEAD moves until a verification has proven what runs: without that proof a service that is active on
# the right commit may still be the old process.
unproven=$rollout_home/unproven

# mark_unproven: sets began when the mark is ours to take back.
mark_unproven() {
  began=
  [ ! -e "$unproven" ] || return 0
  { printf '' >"$unproven"; } 2>/dev/null && began=1
}

# keep_changes: what a forced move is about to throw away stays under a ref, as far as git can still store it. It may be
# the half of a release, and it may be what a person edited meanwhile.
keep_changes() {
  [ "$dirty" != 0 ] || return 0
  kept=$(command timeout -k 5 "$limit" git $git_options -c user.name=rollout -c user.email=rollout@localhost stash create \
    2>/dev/null) || return 0
  [ -n "$kept" ] || return 0
  if git update-ref --create-reflog refs/rollout/discarded "$kept" 2>/dev/null; then
    fact discarded "$kept"
    echo "changed files were put back; how they were is kept as refs/rollout/discarded ($kept)" >&2
  fi
}

# force_to COMMIT OTHER: makes HEAD, index and tracked tree exactly COMMIT, whatever a killed move to or from OTHER left.
# Files that only OTHER tracks go, also those that no index knows yet: they are put into it first.
force_to() {
  keep_changes
  if git cat-file -e "$2^{commit}" 2>/dev/null; then
    keep "$limit" git $git_options read-tree --reset "$2"
  fi
  keep "$limit" git $git_options reset --hard --quiet "$1" --
}
