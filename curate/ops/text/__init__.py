"""What a caption matches, and its language."""
