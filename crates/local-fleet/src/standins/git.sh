# git: the real one behind the faults that are set. It is on the PATH only while there is one, or when git is logged.

log "begin git $*"
sub= skip=
for argument; do
  if [ -n "$skip" ]; then skip=; continue; fi
  case $argument in
    -C | -c | --git-dir | --work-tree | --namespace | --exec-path) skip=1 ;;
    -*) ;;
    *) sub=$argument; break ;;
  esac
done

refuse() {
  echo "$1" >&2
  finish "$2"
}

case $sub in
  fetch | pull)
    [ ! -e "$dir/faults/disk_full" ] || refuse 'error: unable to write file .git/objects/pack/tmp_pack: No space left on device' 1
    [ ! -e "$dir/faults/read_only_repo" ] || refuse "error: cannot open '.git/FETCH_HEAD': Read-only file system" 255
    ;;
  merge | checkout | reset | switch | read-tree | restore | stash | commit | clean)
    [ ! -e "$dir/faults/disk_full" ] || refuse 'fatal: unable to write new index file: No space left on device' 128
    [ ! -e "$dir/faults/read_only_repo" ] || refuse "fatal: Unable to create '.git/index.lock': Read-only file system" 128
    ;;
  update-ref | branch | tag | symbolic-ref)
    [ ! -e "$dir/faults/disk_full" ] || refuse 'fatal: cannot lock ref: Unable to create lock file: No space left on device' 128
    [ ! -e "$dir/faults/read_only_repo" ] || refuse 'fatal: cannot lock ref: Unable to create lock file: Read-only file system' 128
    ;;
esac
if [ -n "$sub" ]; then fault "git-$sub"; fi
'@GIT@' "$@"
finish $?
