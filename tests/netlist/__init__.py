"""What synthesis makes of whole accelerators."""
