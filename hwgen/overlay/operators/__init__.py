"""What the engine does for each kind of operator: one file each."""
