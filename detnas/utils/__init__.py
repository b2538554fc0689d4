"""What every room may use: errors, files, seeds, progress, signals, memory."""
