"""What computes: choice blocks, backbones, the supernet, the classifier, the detectors."""
