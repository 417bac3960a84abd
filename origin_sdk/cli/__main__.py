"""`python -m origin_sdk.cli`, where the command isn't on PATH."""

from origin_sdk.cli import main

main()
