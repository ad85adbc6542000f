"""What an artifact was made from: recorded, checked, compared, made again."""
