"""A project that deploys the Worker: its files, and the Worker's code out of the installed package."""
