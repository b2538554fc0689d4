"""Makes `python benchmarks/NAME.py` find the package `benchmarks`, as `python -m benchmarks.NAME` does.

A script's own folder comes first on the path, where this module is what `import benchmarks` finds.
"""

import sys
from pathlib import Path

__path__ = [str(Path(__file__).parent)]
sys.path[0] = str(Path(__file__).parent.parent)
