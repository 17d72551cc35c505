"""What stands before the application: sockets, their number, and the time that a client may take."""
