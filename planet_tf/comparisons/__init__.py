"""Trained or fitted, then compared: the settings of models and of planners."""
