"""Pages for a browser to turn, to zoom and to read numbers from."""
