"""The page that shows what every pool of the fleet is doing, and acts on it."""
