# Says which commit a branch of the remote points to, or whether a commit can be had from it. HEAD, branches and tree
# stay as they are.

cd -- "$repo" 2>/dev/null || fail no_repo "there is no folder $repo that the user can enter"
if ! where=$(git rev-parse --absolute-git-dir 2>&1); then fail no_repo "$where"; fi
if [ -z "${GIT_SSH_COMMAND:-}${GIT_SSH:-}" ] && ! git config --get core.sshCommand >/dev/null; then
  GIT_SSH_COMMAND='ssh -oBatchMode=yes'
  export GIT_SSH_COMMAND
fi

# remotely ARGUMENT...: git with the time limit; its words on standard error in said, its exit code in code.
remotely() {
  answer=$(timeout -k 10 "$limit" git $git_options "$@" 2>&1)
  code=$?
  if [ "$code" = 124 ]; then fail fetch "no answer from the remote within $limit s"; fi
}

have_commit() {
  git cat-file -e "$commit^{commit}" 2>/dev/null
}

if [ -z "$commit" ]; then
  remotely ls-remote --exit-code -- "$remote" "refs/heads/$branch_name"
  case $code in
    0) ;;
    2) fail target_gone "the remote $remote has no branch $branch_name" ;;
    *) fail fetch "$answer" ;;
  esac
  while read -r hash name; do
    if [ "$name" = "refs/heads/$branch_name" ]; then fact commit "$hash"; fi
  done <<END_OF_REFS
$answer
END_OF_REFS
  exit 0
fi

# Our own fetches leave the host's FETCH_HEAD alone where git can (2.29).
quietly=
case $(git fetch -h 2>&1) in *write-fetch-head*) quietly=--no-write-fetch-head ;; esac
if ! have_commit; then
  remotely fetch --no-tags --no-recurse-submodules --quiet $quietly -- "$remote" "refs/heads/$branch_name"
  if ! have_commit; then
    branch_code=$code branch_answer=$answer
    remotely fetch --no-tags --no-recurse-submodules --quiet $quietly -- "$remote" "$commit"
    if ! have_commit; then
      case $branch_code,$branch_answer in
        0,* | *"couldn't find remote ref"*) fail target_gone "the remote $remote does not have the commit: $answer" ;;
        *) fail fetch "$branch_answer" ;;
      esac
    fi
  fi
fi
fact commit "$commit"
exit 0
