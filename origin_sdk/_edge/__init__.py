"""The clients, and what each of their verbs does at the edge, as flows."""
