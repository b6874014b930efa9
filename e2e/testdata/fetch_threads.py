"""Prints the bodies of the URLs, each fetched by ten threads at once: urllib."""
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


with ThreadPoolExecutor(30) as pool:
    for bodies in [[pool.submit(fetch, url) for _ in range(10)] for url in sys.argv[1:]]:
        print(*sorted({body.result().strip() for body in bodies}), sep=" and ")
