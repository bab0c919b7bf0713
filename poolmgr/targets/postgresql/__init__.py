"""PostgreSQL over psycopg: psycopg_pool made elastic, watched and live."""
