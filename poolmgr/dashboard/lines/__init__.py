"""What several pages list, line by line: processes, holders, who blocks whom, servers, orders, events."""
