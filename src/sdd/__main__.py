"""`python -m sdd` is the command `sdd`; `accelerate launch -m sdd train …` trains with several processes."""

from sdd.apps.cli.main import main

main()
