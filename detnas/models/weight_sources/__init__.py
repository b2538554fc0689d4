"""Where networks get learned weights from: one module a kind of source."""
