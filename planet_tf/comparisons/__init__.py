"""Compares settings: of models (`fits`) and of planners (`planners`)."""
