# df: says how little space is left. It is on the PATH only while that fault is set.

log "begin df $*"
read -r kibibytes < "$dir/faults/low_space"
echo 'Filesystem     1024-blocks      Used Available Capacity Mounted on'
echo "/dev/vda1         20971520  20971520 $kibibytes     100% /"
finish 0
