"""Measures of the loss at the checkpoint, from the model itself."""
