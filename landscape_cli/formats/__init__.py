"""Needs no torch: surfaces from and for other programs."""
