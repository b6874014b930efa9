package device

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

const (
	// maxLine is the length in bytes of the longest line. A preshared key
	// takes 78.
	maxLine = 4096
	// maxOperation is how many bytes one set operation may have: more than a
	// million allowed IPs. What a client writes is kept until its end.
	maxOperation = 64 << 20
)

// errTooLong is the answer to a client that does not come to an end.
var errTooLong = &opError{errnoIO, errors.New("a line or an operation is too long")}

// serve answers the operations of one client, one after the other, until the
// client closes, or says what is no operation.
func (d *Device) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, maxLine)
	for {
		answer, err := d.operation(r)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			d.log.Error("configuration refused", "err", err)
		}
		answer = appendErrno(answer, errnoOf(err))
		_, werr := c.Write(answer)
		clear(answer) // it has the private key
		var op *opError
		if werr != nil || errors.As(err, &op) && (op.errno == errnoIO || op.errno == errnoProtocol) {
			return // what follows could be anything
		}
	}
}

// operation reads one operation and carries it out. The error is io.EOF if the
// client is done.
func (d *Device) operation(r *bufio.Reader) (answer []byte, err error) {
	first, err := readLine(r)
	if err != nil {
		return nil, err
	}
	switch first {
	case "get=1":
		if err := readGet(r); err != nil {
			return nil, err
		}
		return d.get(), nil
	case "set=1":
		c, err := readSet(r)
		if err != nil {
			return nil, err
		}
		return nil, d.set(c)
	}
	return nil, &opError{errnoProtocol, fmt.Errorf("%.40q is no operation", first)}
}

// readGet reads the empty line that a get operation consists of.
func readGet(r *bufio.Reader) error {
	wrong := false
	for {
		line, err := readLine(r)
		switch {
		case err != nil:
			return err
		case line == "" && wrong:
			return invalid("a get operation has no keys")
		case line == "":
			return nil
		}
		wrong = true
	}
}

// readSet reads a set operation to its end, also after an error: what follows
// is then the next operation. An operation that is cut off is void.
func readSet(r *bufio.Reader) (*change, error) {
	var p parser
	var failed error
	for size := 0; ; {
		line, err := readLine(r)
		switch {
		case errors.Is(err, io.EOF):
			return nil, &opError{errnoProtocol, errors.New("a set operation is cut off")}
		case err != nil:
			return nil, err
		case line == "" && failed != nil:
			return nil, failed
		case line == "":
			return &p.change, nil
		}
		if size += len(line) + 1; size > maxOperation {
			return nil, errTooLong
		}
		if failed == nil {
			failed = p.line(line)
		}
	}
}

// readLine returns the next line without its end.
func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errTooLong
	case err != nil: // a line without an end is none
		return "", io.EOF
	}
	return string(b[:len(b)-1]), nil
}

// errnoOf returns the number by which a client is told of err.
func errnoOf(err error) int {
	var op *opError
	var sys unix.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &op):
		return op.errno
	case errors.As(err, &sys):
		return int(sys)
	}
	return errnoIO
}
