"""The page: a report on a run as one HTML file that needs no network."""

from detnas.report.examples import validation_examples
from detnas.report.images import Box, Example
from detnas.report.page import write_report

__all__ = ["Box", "Example", "validation_examples", "write_report"]
