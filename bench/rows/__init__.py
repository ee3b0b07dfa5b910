"""One module per area; each offers `ROWS`. A module put here is found, nothing else to register."""
