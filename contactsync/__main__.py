"""`python -m contactsync`."""

from contactsync.commands import main

if __name__ == "__main__":
    main()
