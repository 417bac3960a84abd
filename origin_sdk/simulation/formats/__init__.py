"""The formats of access logs, each a function from a line to an exchange."""
