"""Launcher for a checkout: `python cli.py …` is `contactsync …`."""

from contactsync.commands import main

if __name__ == "__main__":
    main()
