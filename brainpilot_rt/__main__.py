"""`python -m brainpilot_rt` is the command `brainpilot-rt`."""

from brainpilot_rt.cli.main import main

if __name__ == "__main__":
    main()
