"""The first page: one screen, whatever the size of the fleet. Is a pool the problem, who holds, why, what to do."""
