# Looks at everything an update depends on and changes nothing. Reports facts; the engine decides.

missing=
user=$(id -u)
for tool in git flock timeout systemctl df; do
  command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
if [ "$user" != 0 ] && ! command -v sudo >/dev/null 2>&1; then missing="$missing sudo"; fi
if [ -n "$missing" ]; then
  fact missing "${missing# }"
  exit 0
fi

look_at_repo() {
  if ! cd -- "$repo" 2>/dev/null; then
    fact repo_error "there is no folder $repo that the user can enter"
    return 1
  fi
  where=$(git rev-parse --absolute-git-dir --git-common-dir --is-inside-work-tree --show-prefix 2>&1) || {
    fact repo_error "$where"
    return 1
  }
  {
    IFS= read -r git_dir
    IFS= read -r common_dir
    IFS= read -r inside
    IFS= read -r prefix
  } <<END_OF_PLACES
$where
END_OF_PLACES
  if [ "$inside" != true ]; then
    fact repo_error "$repo has no working tree"
    return 1
  fi
  if [ -n "$prefix" ]; then
    fact repo_error "$repo is a folder inside a repository, not its top"
    return 1
  fi
  look_at_tree || {
    fact repo_error "$tree_error"
    return 1
  }
}

# A lock may belong to a git command that is just ending.
look_for_locks() {
  for round in 1 2; do
    locks=
    for lock in "$git_dir/index.lock" "$git_dir/HEAD.lock" "$common_dir/packed-refs.lock" \
      "$common_dir/refs/heads/$branch.lock" "$common_dir/refs/rollout/previous.lock"; do
      if [ -e "$lock" ]; then locks="$locks $lock"; fi
    done
    if [ -z "$locks" ] || [ "$round" = 2 ]; then break; fi
    sleep 1
  done
  fact locks "${locks# }"
}

look_for_work() {
  for trace in MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD rebase-merge rebase-apply; do
    if [ -e "$git_dir/$trace" ]; then
      fact under_way "$trace"
      return
    fi
  done
}

if look_at_repo; then
  look_for_locks
  look_for_work
  if [ -e "$git_dir/rollout/unproven" ]; then fact unproven 1; fi
  # The line after the header; without its line end it needs no further process to become a fact.
  table=$(df -Pk . 2>/dev/null)
  fact space "${table##*"$newline"}"
  table=$(df -Pi . 2>/dev/null)
  fact inodes "${table##*"$newline"}"
  # Fails when the target is not here yet, which is the usual case before an update.
  if [ -n "$target" ] && relation=$(git rev-list --left-right --count "HEAD...$target" -- 2>/dev/null); then
    fact relation "$relation"
  fi
fi
if [ -n "$install_word" ] && ! command -v -- "$install_word" >/dev/null 2>&1; then
  fact install_missing "$install_word"
fi
fact user "$user"
if [ "$user" != 0 ]; then
  refusal=$(timeout -k 5 15 sudo -n -l systemctl restart "$service" 2>&1 >/dev/null) || fact sudo_error "${refusal:-not allowed}"
fi
sample_unit
exit 0
