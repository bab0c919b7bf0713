"""``ENGINE = "tests.rotating"``: a site's own subclass, whose passwords are made at each connect."""
