"""Sends datagrams to echo servers in all the ways that Python has, and says from
where they came back."""
import socket
import sys


def say(how, data, address):
    print(how, data.decode(), address[0], address[1])


for host in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        s.sendto(b"one", (host, 7))
        say("sendto", *s.recvfrom(100))
        s.sendmsg([b"two", b"three"], [], 0, (host, 7))
        data, _, flags, address = s.recvmsg(100)
        say("sendmsg", data, address)
        s.connect((host, 7))
        s.send(b"four")
        say("send", s.recv(100), s.getpeername())
        s.sendall(b"five")
        buffer = bytearray(100)
        n, address = s.recvfrom_into(buffer)
        say("recvfrom_into", bytes(buffer[:n]), address)
