"""Catalog data sets of our own, and the schemas of the tables they hold."""
