"""Hardware of the overlay engine, a file for each unit."""
