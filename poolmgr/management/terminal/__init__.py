"""What ``manage.py poolctl`` shows and does: the dashboard's documents and orders, in a terminal."""
