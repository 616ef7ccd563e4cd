"""Which node makes a snapshot for which, and how one is made, fetched and taken over."""
