"""The VOC format."""
