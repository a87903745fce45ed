"""Ways to evaluate a network at points of weight space. The table is in `table`, the contract in `contract`."""
