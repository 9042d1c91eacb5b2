# What systemd says of the service, each property as a fact. Changes nothing.
sample_unit() {
  boot=
  { read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
  fact boot "$boot"
  unit=$(SYSTEMD_PAGER=cat timeout -k 5 20 systemctl show \
    -p LoadState,ActiveState,SubState,Result,MainPID,NRestarts,InvocationID "$service" 2>&1)
  while IFS='=' read -r key value; do
    case $key in
      '' | *[!A-Za-z]*) ;;
      *) fact "$key" "$value" ;;
    esac
  done <<END_OF_UNIT
$unit
END_OF_UNIT
}
