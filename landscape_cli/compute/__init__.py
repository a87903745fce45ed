"""Needs torch: turns a config into a surface."""
