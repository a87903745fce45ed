"""Directions in weight space; a direction is ``f(context, *, …) -> Params``. The table of names is in table.py."""
