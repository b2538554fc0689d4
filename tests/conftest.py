"""One thread: more threads than idle cores make small networks several times slower."""

import torch

torch.set_num_threads(1)
