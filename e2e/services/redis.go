package services

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// Redis answers like redis: PING, ECHO, and GET whoami, which is the client's
// address, until l is closed.
func Redis(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			for r := bufio.NewReader(c); answerRedis(c, r) == nil; {
			}
		}()
	}
}

// answerRedis reads one command and answers. A command is an array of strings:
// "*2", "$3", "GET", "$6", "whoami", each with its CRLF.
func answerRedis(c net.Conn, r *bufio.Reader) error {
	n, err := redisNumber(r, '*')
	if err != nil {
		return err
	}
	words := make([]string, n)
	for i := range words {
		size, err := redisNumber(r, '$')
		if err != nil {
			return err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		words[i] = string(b[:size])
	}
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	switch command := strings.ToUpper(strings.Join(words, " ")); {
	case command == "PING":
		_, err = io.WriteString(c, "+PONG\r\n")
	case command == "GET WHOAMI":
		_, err = fmt.Fprintf(c, "$%d\r\n%s\r\n", len(host), host)
	case len(words) == 2 && strings.HasPrefix(command, "ECHO "):
		_, err = fmt.Fprintf(c, "$%d\r\n%s\r\n", len(words[1]), words[1])
	default:
		_, err = io.WriteString(c, "-ERR unknown command\r\n")
	}
	return err
}

// redisNumber reads a line of a mark and a small number.
func redisNumber(r *bufio.Reader, mark byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimRight(strings.TrimPrefix(line, string(mark)), "\r\n"))
	if err != nil || line[0] != mark || n < 0 || n > 1<<16 {
		return 0, fmt.Errorf("not a command: %q", line)
	}
	return n, nil
}
