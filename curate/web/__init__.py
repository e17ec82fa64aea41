"""Fetching images from the web: requests, hosts, redirects, robots.txt and opt-outs."""
