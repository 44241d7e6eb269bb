"""Values of a user-supplied table, from Python and from the command line."""
