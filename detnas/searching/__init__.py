"""How it chooses: recalibration, fitness, evolution, the study."""
