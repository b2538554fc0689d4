"""What it learns from: detection data sets, image folders, the embedded shapes, splits and batches. Knows no model."""
