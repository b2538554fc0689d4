"""What detnas claims about speed and cost: one command and one JSON file each, `python -m benchmarks.NAME`."""
