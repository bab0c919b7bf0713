"""Figures about pools: pure values and arithmetic, no I/O."""
