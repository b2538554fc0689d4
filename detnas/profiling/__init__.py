"""What a recipe will cost before it is run: its networks, a dry run, throughput, measured latencies."""
