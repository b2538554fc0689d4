"""What a recipe will cost before it is run: profile, dry run, throughput, and measured latencies."""
