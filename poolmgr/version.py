"""Apart from the package's front, which imports all that a site calls."""

__version__ = "0.1.0"
