"""Value and gradient of the objective: whole, in windows, or sharded over devices."""
