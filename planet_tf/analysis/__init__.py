"""Looking at runs: learning curves, figures, videos, predictions."""
