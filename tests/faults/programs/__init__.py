"""Programs that the tests run as processes of their own, since what they do must not happen to the tests' process."""
