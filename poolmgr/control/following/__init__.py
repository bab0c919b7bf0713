"""What this process does at the control database, turn by turn: follow the profiles, carry out commands, answer."""
