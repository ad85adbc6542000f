"""What people read: figures, the report page and the model card. Data frames and plain dictionaries in, text out."""
