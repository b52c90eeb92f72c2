"""Words and rules without I/O: ids, statuses, environment names, message forms, plans."""
