"""`python -m genmorph`."""

from genmorph.cli import main

main()
