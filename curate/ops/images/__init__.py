"""From the bytes of an image to what is stored of it: decoding, resizing, blurring, hashing."""
