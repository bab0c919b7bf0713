"""Who is let in, what an address asks for, and the frame around the answer."""
