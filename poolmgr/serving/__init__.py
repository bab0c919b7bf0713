"""Whether this process can serve anybody: its request threads, as far as its web server tells, and what they are at."""
