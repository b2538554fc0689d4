"""What people deploy: a detector or its backbone written for other runtimes, checked against the eager model."""
