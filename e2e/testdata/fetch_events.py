"""Prints the bodies of the URLs, fetched by a nonblocking socket that epoll, poll or
select knew before it was connected."""
import errno
import select
import socket
import sys
from urllib.parse import urlsplit


def by_epoll(sock):
    e = select.epoll()
    e.register(sock, select.EPOLLOUT | select.EPOLLIN | select.EPOLLET)
    e.poll(0)  # a new socket is said to be hung up

    def wait(event):
        while not any(seen & (event | select.EPOLLERR) for _, seen in e.poll(30)):
            pass

    return wait, select.EPOLLOUT, select.EPOLLIN


def by_poll(sock):
    p = select.poll()
    p.register(sock, select.POLLOUT)

    def wait(event):
        p.modify(sock, event)
        if not p.poll(30_000):
            raise SystemExit("poll: nothing in 30 seconds")

    return wait, select.POLLOUT, select.POLLIN


def by_select(sock):
    def wait(event):
        lists = ([sock], [], []) if event == "in" else ([], [sock], [])
        if not any(select.select(*lists, 30)):
            raise SystemExit("select: nothing in 30 seconds")

    return wait, "out", "in"


def fetch(url, by):
    parts = urlsplit(url)
    family, kind, proto, _, address = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind | socket.SOCK_NONBLOCK, proto) as sock:
        wait, out, readable = by(sock)
        if (result := sock.connect_ex(address)) not in (0, errno.EINPROGRESS):
            raise SystemExit(f"connect: {errno.errorcode[result]}")
        wait(out)
        if result := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise SystemExit(f"connect: {errno.errorcode[result]}")
        sock.send(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n".encode())
        answer = b""
        while True:
            try:
                more = sock.recv(65536)
            except BlockingIOError:
                wait(readable)
                continue
            if not more:
                return answer.partition(b"\r\n\r\n")[2].decode()
            answer += more


by = {"epoll": by_epoll, "poll": by_poll, "select": by_select}[sys.argv[1]]
for url in sys.argv[2:]:
    sys.stdout.write(fetch(url, by))
