"""What is asked: the evaluation prompt sets."""
