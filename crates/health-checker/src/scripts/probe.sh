sample_unit
exit 0
