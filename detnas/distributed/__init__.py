"""Communication between processes, and the choice of the device."""
