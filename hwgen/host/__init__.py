"""What runs on the host: the wire protocol, the driver, and the simulated board."""
