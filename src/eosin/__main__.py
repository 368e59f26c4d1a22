"""`python -m eosin` is the command line, as torchrun wants it."""

from eosin.cli import main

main()
