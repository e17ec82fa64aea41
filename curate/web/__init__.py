"""Asking the web for images: requests, hosts, redirects, and what owners say against it."""
