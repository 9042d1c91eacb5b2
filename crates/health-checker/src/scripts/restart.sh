# Under the host's lock: whoever held it may have started the service meanwhile, and then it is left alone.
active=$(systemctl is-active "$service" 2>/dev/null)
code=0
if [ "$active" = active ]; then
  fact left_alone 1
elif [ "$(id -u)" = 0 ]; then
  systemctl restart "$service" || code=$?
else
  sudo -n systemctl restart "$service" || code=$?
fi
sample_unit
exit "$code"
