"""Prints the bodies of the URLs, fetched at once: asyncio streams."""
import asyncio
import sys
from urllib.parse import urlsplit


async def fetch(url):
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if b" 200 " not in head.splitlines()[0]:
        raise SystemExit(head.decode())
    return body.decode()


async def main():
    for body in await asyncio.gather(*map(fetch, sys.argv[1:])):
        sys.stdout.write(body)


asyncio.run(main())
