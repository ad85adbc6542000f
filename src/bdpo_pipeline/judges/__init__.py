"""Who judges a response: kinds of judges, what they share, and how they are measured (docs/judges.md)."""
