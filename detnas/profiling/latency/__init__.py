"""Latencies measured on this machine: of every op of every block, and of exported files."""
