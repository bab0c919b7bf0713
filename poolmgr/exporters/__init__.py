"""The fleet's figures for other people's monitoring."""
