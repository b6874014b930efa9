"""Prints the bodies of the URLs: urllib."""
import sys
import urllib.request

for url in sys.argv[1:]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        sys.stdout.write(answer.read().decode())
