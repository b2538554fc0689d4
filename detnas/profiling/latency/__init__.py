"""Latencies measured on this device: tables of every op of every block, and of exported files."""
