"""Needs no torch: turns a surface into pictures and numbers."""
