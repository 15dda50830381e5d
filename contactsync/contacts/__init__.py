"""Address books in: vCard 2.1 to 4.0, Google, Outlook and plain CSV, plain lists."""
