package preload

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// What the shim and adit say to each other; wire.h says the same to the C
// compiler, and explains each operation. Numbers are of this machine's byte order.
//
//	question  operation (4), argument (4 × 4), length (4), data (length)
//	answer    error (4), value (4), length (4), data (length)
const (
	questionLen = 24
	answerLen   = 12
	addressLen  = 44 // family (4), type (4), protocol (4), length (4), struct sockaddr (28)

	questionMax = 2048 // of data
	answerMax   = 8192 // of data
)

// An operation is what a question asks for.
type operation uint32

const (
	opHello operation = iota + 1
	opSocket
	opConnect
	opBind
	opListen
	opLocalName
	opPeerName
	opSocketError
	opAddrInfo
	opNameInfo
	opHostByName
	opHostByAddress
	opResQuery
	opResSearch
	opResSend
)

// A question is what a program asks.
type question struct {
	op   operation
	arg  [4]int32
	data []byte
}

// An answer is what it is told. What err is an error of depends on the operation.
type answer struct {
	err   int32
	value int32
	data  []byte
}

var errWire = errors.New("not a message of the shim's")

// parseQuestion reads a message. The data of the question is that of b.
func parseQuestion(b []byte) (question, error) {
	if len(b) < questionLen || len(b) > questionLen+questionMax {
		return question{}, errWire
	}
	q := question{op: operation(binary.NativeEndian.Uint32(b)), data: b[questionLen:]}
	for i := range q.arg {
		q.arg[i] = int32(binary.NativeEndian.Uint32(b[4+4*i:]))
	}
	if q.op < opHello || q.op > opResSend || uint64(binary.NativeEndian.Uint32(b[20:])) != uint64(len(q.data)) {
		return question{}, errWire
	}
	return q, nil
}

func (q question) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(q.op))
	for _, a := range q.arg {
		b = binary.NativeEndian.AppendUint32(b, uint32(a))
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(len(q.data)))
	return append(b, q.data...)
}

func parseAnswer(b []byte) (answer, error) {
	if len(b) < answerLen || uint64(binary.NativeEndian.Uint32(b[8:])) != uint64(len(b)-answerLen) {
		return answer{}, errWire
	}
	return answer{
		err:   int32(binary.NativeEndian.Uint32(b)),
		value: int32(binary.NativeEndian.Uint32(b[4:])),
		data:  b[answerLen:],
	}, nil
}

func (a answer) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(a.err))
	b = binary.NativeEndian.AppendUint32(b, uint32(a.value))
	b = binary.NativeEndian.AppendUint32(b, uint32(len(a.data)))
	return append(b, a.data...)
}

// An address is one result of getaddrinfo.
type address struct {
	family, kind, protocol int32
	sockaddr               []byte // 28 bytes at most
}

func (a address) append(b []byte) []byte {
	var room [28]byte
	n := copy(room[:], a.sockaddr)
	for _, v := range []int32{a.family, a.kind, a.protocol, int32(n)} {
		b = binary.NativeEndian.AppendUint32(b, uint32(v))
	}
	return append(b, room[:]...)
}

// cutText takes a text off the front of b: it ends with a NUL.
func cutText(b []byte) (text string, rest []byte, err error) {
	t, rest, found := bytes.Cut(b, []byte{0})
	if !found {
		return "", nil, errWire
	}
	return string(t), rest, nil
}

// cutOptionalText takes a text off that may be missing: nil.
func cutOptionalText(b []byte) (text *string, rest []byte, err error) {
	switch {
	case len(b) > 0 && b[0] == 0:
		return nil, b[1:], nil
	case len(b) > 0 && b[0] == 1:
		t, rest, err := cutText(b[1:])
		return &t, rest, err
	}
	return nil, nil, errWire
}

func appendText(b []byte, text string) []byte { return append(append(b, text...), 0) }

func appendOptionalText(b []byte, text *string) []byte {
	if text == nil {
		return append(b, 0)
	}
	return appendText(append(b, 1), *text)
}
