"""Pages for a browser that stand alone: everything they need is in them."""
