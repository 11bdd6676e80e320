"""Networks that come with hwgen."""
