"""`python -m sartor_cli`: the same as `sartor`."""

from sartor_cli.main import run

run()
