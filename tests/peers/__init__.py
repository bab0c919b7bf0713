"""The test suites of the libraries whose pools ours stand in for, run on ours. `scripts/peer-suite --help`."""
