"""Django database backends on managed pools."""
