"""How the pages say things: figures, episodes, and the verdict on a target."""
