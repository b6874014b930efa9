"""Prints the bodies of the URLs, each fetched by 200 connections that are all open
at once: asyncio."""
import asyncio
import sys
from urllib.parse import urlsplit

CROWD = 200


async def fetch(url, open_ones, all_open):
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    open_ones.append(url)
    if len(open_ones) == CROWD:
        all_open.set()
    await all_open.wait()
    writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if b" 200 " not in head.splitlines()[0]:
        raise SystemExit(head.decode())
    return body.decode().strip()


async def crowd(url):
    open_ones, all_open = [], asyncio.Event()
    bodies = await asyncio.gather(*(fetch(url, open_ones, all_open) for _ in range(CROWD)))
    print(*sorted(set(bodies)), sep=" and ")


for url in sys.argv[1:]:
    asyncio.run(crowd(url))
