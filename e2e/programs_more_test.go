package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/services"
	"adit/e2e/suite"
)

// socketPrograms are more of the matrix: programs that ask more of their sockets
// than the others, which matters where these are not the kernel's own.
var socketPrograms = []program{
	script("python threads", "fetch_threads.py", "python3"),
	script("python asyncio, 200 at once", "fetch_crowd.py", "python3"),
	events("epoll"), events("poll"), events("select"),
	echo("python UDP", "udp.py", "sendto one FROM 7\nsendmsg twothree FROM 7\nsend four FROM 7\nrecvfrom_into five FROM 7\n", "python3"),
	echo("node UDP", "udp.mjs", "message 0 FROM 7\nmessage 1 FROM 7\nmessage 2 FROM 7\nmessage 3 FROM 7\nmessage 4 FROM 7\n", "node"),
	script("java NIO, registered before it connects", "Nio.java", "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"),
	{name: "Go's own resolver", asks: staticOnly, want: `10\.9\.0\.1\nfd09::1\n`, argv: func(t *testing.T, w *world) []string {
		return []string{w.probe, "lookup", "web.test"}
	}},
	dynamic("dynamic C of glibc", "cc"),
	dynamic("dynamic C of musl", "musl-gcc"),
	{name: "dig by TCP", needs: []string{"dig"}, want: `10\.9\.0\.1\n`, argv: func(t *testing.T, w *world) []string {
		return []string{"dig", "+tcp", "+short", "+time=5", "+tries=2", "web.test", "A"}
	}},
	{name: "nginx as a proxy", needs: []string{"nginx", "curl"}, want: pagesWant, argv: proxy},
	{name: "redis-cli", needs: []string{"redis-cli"}, want: `FROM\nagain\n`, argv: func(t *testing.T, w *world) []string {
		w.serveMore(t)
		return []string{"sh", "-c", "redis-cli -h web.test GET whoami && redis-cli -h 10.9.0.1 ECHO again"}
	}},
	{name: "QUIC", asks: staticOnly, noDNS: true, want: `FROM4\nFROM6\n3000000 bytes\n`, argv: quic},
}

// events is a program whose socket is known to one of the kernel's ways to wait
// before it is connected.
func events(by string) program {
	p := script("python "+by+", registered before it connects", "fetch_events.py", "python3")
	plain := p.argv
	p.argv = func(t *testing.T, w *world) []string {
		argv := plain(t, w)
		at := len(argv) - len(pages)
		return append(append(append([]string(nil), argv[:at]...), by), argv[at:]...)
	}
	return p
}

// echo is a program that talks with the UDP echo of both families. In want FROM
// is the server here.
func echo(name, file, want, interpreter string) program {
	var both string
	for _, a := range []string{lab.ServiceV4.String(), lab.ServiceV6.String()} {
		both += strings.ReplaceAll(want, "FROM", a)
	}
	p := script(name, file, interpreter)
	plain := p.argv
	p.argv = func(t *testing.T, w *world) []string {
		argv := plain(t, w)
		return append(argv[:len(argv)-len(pages)], lab.ServiceV4.String(), lab.ServiceV6.String())
	}
	p.want, p.asks, p.noDNS = regexp.QuoteMeta(both), datagrams, true
	return p
}

// dynamic is a C program that finds its libc at run time.
func dynamic(name, cc string) program {
	return program{name: name, needs: []string{cc}, want: pagesWant, argv: func(t *testing.T, w *world) []string {
		out := filepath.Join(w.Dir, name)
		cmd := exec.Command(cc, "-O1", "-w", "-o", out, "testdata/fetch.c")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
		}
		t.Cleanup(func() { os.Remove(out) })
		return append([]string{out}, pages...)
	}}
}

// proxyConf is nginx in front of the server, as an ordinary user's. It waits for
// connections that it is still making.
const proxyConf = `daemon off;
worker_processes 1;
pid DIR/pid;
error_log stderr crit;
events { use epoll; }
http {
	access_log off;
	client_body_temp_path DIR; proxy_temp_path DIR; fastcgi_temp_path DIR; uwsgi_temp_path DIR; scgi_temp_path DIR;
	server {
		listen 127.0.0.1:8099;
		location /0 { proxy_pass PAGE0; }
		location /1 { proxy_pass PAGE1; }
		location /2 { proxy_pass PAGE2; }
	}
}
`

// proxy is nginx that listens to the command's own loopback, and curl that asks
// it.
func proxy(t *testing.T, w *world) []string {
	dir := filepath.Join(w.User.Home, "nginx")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, w.User.UID, w.User.GID); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("DIR", dir, "PAGE0", pages[0], "PAGE1", pages[1], "PAGE2", pages[2]).Replace(proxyConf)
	file := w.file(t, "nginx.conf", text, 0o644)
	return []string{"sh", "-c", `nginx -e stderr -p "$1" -c "$2" & trap 'kill $!; wait' EXIT
		n=0; until curl -s -o "$1/first" http://127.0.0.1:8099/0; do n=$((n+1)); [ $n -lt 200 ] || exit 9; sleep 0.05; done
		curl -sS -m 30 http://127.0.0.1:8099/0 http://127.0.0.1:8099/1 http://127.0.0.1:8099/2`, "sh", dir, file}
}

// more are services that only some tests need, started once.
var more sync.Once

// serveMore starts them on the server.
func (w *world) serveMore(t *testing.T) {
	t.Helper()
	more.Do(func() {
		err := w.Server.Do(func() error {
			redis, err := net.Listen("tcp", ":6379")
			if err != nil {
				return err
			}
			go services.Redis(redis)
			packages, err := net.Listen("tcp", fmt.Sprintf(":%d", repositoryPort))
			if err != nil {
				return err
			}
			go http.Serve(packages, repository())
			return nil
		})
		if err != nil {
			t.Errorf("more services: %v", err)
		}
	})
}

// quicPort is where the HTTP/3 server of testdata/quic is.
const quicPort = 4433

// quic starts a server of HTTP/3 beyond the tunnel and returns its client.
func quic(t *testing.T, w *world) []string {
	binary := filepath.Join(w.Dir, "quic")
	if _, err := os.Stat(binary); err != nil {
		cmd := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
		cmd.Dir = "testdata/quic"
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			if strings.Contains(string(text), "go: downloading") || strings.Contains(string(text), "dial tcp") {
				suite.Skip(t, "quic-go cannot be had here: %s", text)
			}
			t.Fatalf("build testdata/quic: %v\n%s", err, text)
		}
	}
	cert, ca, err := services.Certificate(lab.ServiceV4.String(), lab.ServiceV6.String())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	caFile := w.file(t, "quic-ca.pem", ca, 0o644)
	keyFile := w.file(t, "quic-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), 0o600)
	argv := []string{binary, "get", caFile}
	for _, a := range []string{at(lab.ServiceV4), at(lab.ServiceV6)} {
		addr := fmt.Sprintf("%s:%d", a, quicPort)
		server := suite.Start(t, w.Server, w.User, binary, "serve", addr, caFile, keyFile)
		if got := server.Line(suite.Deadline); got != "ready" {
			t.Fatalf("the QUIC server says %q", got)
		}
		argv = append(argv, "https://"+addr+"/whoami")
	}
	return append(argv, fmt.Sprintf("https://%s:%d/bytes?size=3000000", at(lab.ServiceV6), quicPort))
}
