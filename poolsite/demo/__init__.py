"""The demo: real servers, the site's processes and some traffic, from one command."""
