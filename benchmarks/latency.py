"""Whether sums of block latencies say what networks take: python -m benchmarks.latency writes benchmarks/results/latency.json.

`tiny` and `small` at the input size of the recipes own-data-quick and own-data, by PyTorch and by ONNX Runtime; the
protocol is that of `detnas profile --latency`. Leave the machine alone meanwhile. Two to three minutes on two cores.
"""

import json
import tempfile
from pathlib import Path

from benchmarks.machine import machine
from detnas.config import load_recipe
from detnas.profiling.latency.profile import profile_latency
from detnas.utils.files import write_json


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("own-data-quick", "own-data"):
            for line in profile_latency(load_recipe(name, ["device=cpu"]), Path(folder)):
                print(line)
        for file in sorted(Path(folder).iterdir()):
            table = json.loads(file.read_text())
            key = f"{table['space']}, {table['backend']}"
            found[key] = {name: table[name] for name in ("height", "width", "threads", "excess_us", "check")}
    write_json(Path(__file__).parent / "results" / "latency.json", {"machine": machine(), "spaces": found})


if __name__ == "__main__":
    main()
