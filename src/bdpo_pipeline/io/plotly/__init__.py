"""Plots in the catalog."""
