"""Figures over the documents, for whoever looks at them as a whole."""
