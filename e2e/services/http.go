package services

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"strconv"
	"time"
)

// NewHTTP returns the web server:
//
//	/whoami                 the client's address
//	/bytes?size=N&seed=S    a Stream
//	/hash                   the SHA-256 of what was uploaded
//	/drip                   a line every 5 ms, for as long as the client stays
//	/git/                   repositories below root, if git is given
//
// git is the path of git-http-backend(1), or empty.
func NewHTTP(git, root string) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, host)
	})
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.ParseInt(r.FormValue("size"), 10, 64)
		seed, _ := strconv.ParseInt(r.FormValue("seed"), 10, 64)
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		io.CopyBuffer(w, struct{ io.Reader }{Stream(seed, size)}, make([]byte, 256<<10))
	})
	mux.HandleFunc("/hash", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, hex.EncodeToString(h.Sum(nil)), n)
	})
	mux.HandleFunc("/drip", drip)
	if git != "" {
		mux.Handle("/git/", &cgi.Handler{
			Path: git, Root: "/git",
			Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=e2e", "HOME=" + root},
		})
	}
	return &http.Server{Handler: mux}
}

// drip writes a line every few milliseconds until the client is gone.
func drip(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		if _, err := fmt.Fprintln(w, i); err != nil {
			return
		}
		if flush.Flush() != nil {
			return
		}
	}
}
