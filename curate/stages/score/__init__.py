"""score: models over images and captions, a column each."""
