// Quic is a web server and a client that speak HTTP/3, by quic-go: the most that a
// program asks of its UDP sockets (ECN, GSO, packet information, no fragments).
//
//	quic serve ADDR CERT KEY
//	quic get CA URL…
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/quic-go/quic-go/http3"
)

func main() {
	err := errors.New("usage: quic serve ADDR CERT KEY | quic get CA URL…")
	switch {
	case len(os.Args) == 5 && os.Args[1] == "serve":
		err = serve(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) > 3 && os.Args[1] == "get":
		err = get(os.Args[2], os.Args[3:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quic:", err)
		os.Exit(1)
	}
}

// serve says "ready" when it is, and serves /whoami and /bytes?size=N.
func serve(addr, cert, key string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, host)
	})
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.ParseInt(r.FormValue("size"), 10, 64)
		io.CopyN(w, zeroes{}, size)
	})
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	s := http3.Server{Handler: mux, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}})}
	return s.Serve(c)
}

// zeroes has no end.
type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// get prints the bodies that are short, and the length of others.
func get(ca string, urls []string) error {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	t := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer t.Close()
	client := &http.Client{Transport: t, Timeout: 60 * time.Second}
	for _, u := range urls {
		r, err := client.Get(u)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if len(body) > 100 {
			fmt.Println(len(body), "bytes")
		} else {
			fmt.Print(string(body))
		}
	}
	return nil
}
