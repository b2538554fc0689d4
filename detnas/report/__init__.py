"""The page that people look at: one offline HTML file made from a run directory."""

from detnas.report.examples import validation_examples
from detnas.report.images import Box, Example
from detnas.report.page import write_report

__all__ = ["Box", "Example", "validation_examples", "write_report"]
