"""How it is judged. Knows no model."""
