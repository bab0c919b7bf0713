#!/usr/bin/env python
"""Django's command line for the site."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolsite.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        advice = "run scripts/demo once, or pip install -r requirements.txt"
        raise SystemExit(f"Django can't be imported ({error}): {advice}") from None
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
