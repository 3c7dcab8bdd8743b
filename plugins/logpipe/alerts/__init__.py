"""When somebody is told: rules, what is known, and what follows from both; nothing here asks anybody."""
