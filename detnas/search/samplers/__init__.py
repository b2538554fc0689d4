"""Which candidate is tried next."""
