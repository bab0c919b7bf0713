"""manage.py of a site whose views are edited while it runs."""

import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.faults.programs.settings"

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
