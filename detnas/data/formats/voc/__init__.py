"""VOC trees."""
