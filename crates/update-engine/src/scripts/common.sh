# Shared by all bodies. POSIX, for dash: no bashisms. Parameters are plain variables, set before this text.

newline='
'
PATH=${PATH:-/usr/bin:/bin}:${HOME:-/}/.bun/bin:/usr/local/sbin:/usr/sbin:/sbin
# Nothing here can answer a question, so nothing may ask one.
GIT_TERMINAL_PROMPT=0 GIT_ASKPASS=false SSH_ASKPASS_REQUIRE=never GIT_PAGER=cat SYSTEMD_PAGER=cat
export PATH GIT_TERMINAL_PROMPT GIT_ASKPASS SSH_ASKPASS_REQUIRE GIT_PAGER SYSTEMD_PAGER

# Background maintenance would outlive its command and keep the host's lock; hooks may hang or fail.
git_options="-c gc.auto=0 -c maintenance.auto=false -c core.hooksPath=/dev/null -c advice.detachedHead=false"
git_options="$git_options -c core.quotePath=false -c http.lowSpeedLimit=1 -c http.lowSpeedTime=${low_speed:-30}"

git() {
  command git $git_options "$@"
}

# fail WHAT [MESSAGE]: ends the body and names what went wrong.
fail() {
  if [ -n "${2:-}" ]; then fact why "$2"; fi
  fact failed "$1"
  exit 1
}

# is_generated PATH: whether it is, or lies in, one of the files that the install command rewrites.
is_generated() {
  while IFS= read -r generated_file; do
    case $1 in
      "$generated_file" | "$generated_file"/*) [ -z "$generated_file" ] || return 0 ;;
    esac
  done <<END_OF_LIST
$generated
END_OF_LIST
  return 1
}

# look_at_tree: HEAD, branch and tracked changes, from one git process.
# Sets head, branch (empty when detached), dirty (how many changes are not generated ones) and regenerated (the
# generated files with changes, one a line). Fails with git's message in tree_error, and then takes back what an earlier
# look reported: that is not known any more.
look_at_tree() {
  head= branch= dirty=0 regenerated= tree_error=
  tree=$(GIT_OPTIONAL_LOCKS=0 command timeout -k 5 "${patience:-30}" git $git_options status --porcelain=v2 --branch \
    --no-ahead-behind --no-renames --untracked-files=no --ignore-submodules=untracked 2>&1) || {
    case $?,$tree in
      124,*) tree_error="git status took longer than ${patience:-30} s" ;;
      *) tree_error=${tree:-git status failed} ;;
    esac
    fact head ''
    fact branch ''
    fact dirty ''
    return 1
  }
  while IFS= read -r line; do
    case $line in
      '# branch.oid '*) head=${line#'# branch.oid '} ;;
      '# branch.head (detached)') ;;
      '# branch.head '*) branch=${line#'# branch.head '} ;;
      '1 '* | 'u '*)
        case $line in
          1*) file=${line#* * * * * * * * } ;;
          *) file=${line#* * * * * * * * * * } ;;
        esac
        if is_generated "$file"; then
          regenerated=$regenerated$file$newline
        else
          dirty=$((dirty + 1))
          if [ "$dirty" -le 20 ]; then fact "dirty_$dirty" "$file"; fi
        fi
        ;;
    esac
  done <<END_OF_STATUS
$tree
END_OF_STATUS
  fact head "$head"
  fact branch "$branch"
  fact dirty "$dirty"
}

# sample_unit: what systemd says of the service, each property as a fact; all of it in unit.
sample_unit() {
  boot=
  { read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
  fact boot "$boot"
  unit=$(systemctl show -p LoadState,ActiveState,SubState,Type,Result,MainPID,NRestarts,InvocationID,TimeoutStartUSec,TimeoutStopUSec,StartLimitIntervalUSec \
    "$service" 2>&1)
  while IFS='=' read -r key value; do
    case $key in
      '' | *[!A-Za-z]*) ;;
      *) fact "unit_$key" "$value" ;;
    esac
  done <<END_OF_UNIT
$unit
END_OF_UNIT
}

# show_service: what people look at first when a service does not run. Best effort.
show_service() {
  timeout 5 systemctl status --no-pager --lines=0 "$service" 2>&1
  timeout 5 journalctl -u "$service" -n 50 --no-pager 2>/dev/null
}
