"""The admin API, for the back end of the service: members, accounts, publishing. A process of its own."""
