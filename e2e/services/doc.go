// Package services is what the server of the end-to-end tests offers: HTTP(S)
// with bodies of any size whose hash is known, echo over TCP and UDP, names,
// ssh, and git over both.
//
//	http.go   who-am-I, bytes, uploads, endless streams, git
//	stream.go bytes that both sides can compute
//	dns.go    a nameserver that remembers who asked what
//	echo.go   TCP and UDP echo
//	redis.go  the least of redis
//	ssh.go    ssh with a public key, runs commands
//	cert.go   the authority behind https
//
// Nothing here knows of namespaces: every service takes its sockets.
package services
