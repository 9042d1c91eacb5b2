# The host's lock and fence, taken before a guarded body. Ends the command with 75 (busy), 76 (fenced), 77 (unusable).

rollout_unusable() {
  fact guard "$1"
  exit 77
}

rollout_fenced() {
  fact fence_store "$rollout_seen_store"
  fact fence_epoch "$rollout_seen_epoch"
  fact guard fenced
  exit 76
}

# The git directory, or `.git` itself where git cannot tell: a broken repository must still be lockable.
rollout_find() {
  if rollout_git=$(git -C "$rollout_repo" rev-parse --absolute-git-dir 2>/dev/null) && [ -d "$rollout_git" ]; then
    return 0
  fi
  if [ -d "$rollout_repo/.git" ] && rollout_git=$(cd -- "$rollout_repo/.git" && pwd -P); then
    return 0
  fi
  rollout_unusable "there is no git repository at $rollout_repo"
}

# Reads the record. One that cannot be understood is taken for a foreign store's and named after its content, so that
# only a conditional write that names exactly this content can replace it.
rollout_read() {
  rollout_seen_store=
  rollout_seen_epoch=
  [ -e "$rollout_home/fence" ] || return 0
  rollout_line=$(cat "$rollout_home/fence" 2>/dev/null) || rollout_unusable "the fence record cannot be read"
  rollout_seen_store=${rollout_line%% *}
  rollout_seen_epoch=${rollout_line#* }
  case $rollout_seen_store in
    '' | *[!A-Za-z0-9._-]*) rollout_seen_epoch= ;;
  esac
  case $rollout_seen_epoch in
    '' | *[!0-9]* | 0?* | ???????????????????*) ;;
    *) [ "$rollout_seen_store $rollout_seen_epoch" != "$rollout_line" ] || return 0 ;;
  esac
  rollout_sum=$(cksum <"$rollout_home/fence") || rollout_unusable "the fence record cannot be read"
  rollout_seen_store="unreadable:${rollout_sum%% *}:${rollout_sum##* }"
  rollout_seen_epoch=0
}

rollout_write() {
  { printf '%s %s\n' "$rollout_store" "$rollout_epoch" >"$rollout_home/fence.new"; } 2>/dev/null \
    || rollout_unusable "the fence record cannot be written"
  sync "$rollout_home/fence.new" 2>/dev/null
  mv -f "$rollout_home/fence.new" "$rollout_home/fence" 2>/dev/null \
    || rollout_unusable "the fence record cannot be written"
}

command -v flock >/dev/null 2>&1 || rollout_unusable "flock is not installed"
rollout_find
rollout_home=$rollout_git/rollout
mkdir -p "$rollout_home" 2>/dev/null || rollout_unusable "the folder $rollout_home cannot be made"
(: >>"$rollout_home/lock") 2>/dev/null || rollout_unusable "the lock $rollout_home/lock cannot be opened"
# Descriptor 9 stays open and goes to every child on purpose: a command left behind keeps the lock.
exec 9>>"$rollout_home/lock"
flock -E 75 -w "$rollout_wait" 9
case $? in
  0) ;;
  75)
    fact guard busy
    exit 75
    ;;
  *) rollout_unusable "flock failed on $rollout_home/lock" ;;
esac
# Who waited for the lock may have lost its connection meanwhile. This write ends it then, before it changes anything.
fact guarded 1 || exit 75
rollout_read
if [ -z "$rollout_seen_store" ] || [ "$rollout_seen_store $rollout_seen_epoch" = "$rollout_replace" ]; then
  rollout_write
elif [ "$rollout_seen_store" != "$rollout_store" ] || [ "$rollout_seen_epoch" -gt "$rollout_epoch" ]; then
  rollout_fenced
elif [ "$rollout_seen_epoch" -lt "$rollout_epoch" ]; then
  rollout_write
fi
# Nobody else is at work here, so these are left over from a command that was killed.
rm -rf "$rollout_home"/run.??????
# From here on a lost connection ends no step halfway.
trap '' HUP PIPE
