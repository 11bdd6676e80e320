"""What could run each node, and the design the chosen ones make."""
