"""A configuration: its keys, and what it comes to as calls of the library."""
