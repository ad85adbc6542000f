"""Reading preference data of any supported format into canonical pairs."""
