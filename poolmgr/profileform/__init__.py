"""The form of a profile, which the admin's page and the console's share."""
