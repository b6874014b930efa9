// Static is a program that preloaded libraries and proxy variables cannot
// reach, when it is built with CGO_ENABLED=0: it makes its system calls itself.
// In adit's namespace it has no other way out than any other program.
//
//	CGO_ENABLED=0 go build -o static ./examples/static
//	adit run -c wg0.conf -- ./static https://example.com
package main

import (
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: static URL")
	}
	// No proxy: not even the environment's.
	client := &http.Client{Transport: &http.Transport{}}
	resp, err := client.Get(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		log.Fatal(err)
	}
}
