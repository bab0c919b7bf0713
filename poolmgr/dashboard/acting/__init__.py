"""What a reader can do: advice, orders, the settings of a target, and a holder and their end."""
