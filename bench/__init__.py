"""Figures for speed, each as a ratio to a floor or peer measured in the same run."""
