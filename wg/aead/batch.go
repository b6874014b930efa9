package aead

const (
	// TagLen is how many bytes longer a sealed message is than its text.
	TagLen = 16

	// Max is the most messages that a Batch holds.
	Max = 128

	maxText = 1<<16 - 1
)

// A message is what is to be sealed or opened: text, with the room for the tag
// behind it.
type message struct {
	text    []byte // without the tag; its capacity covers the tag
	counter uint64
	ok      bool // is authentic; said by Open
}

// A Batch is a number of messages that are sealed or opened with one call, and
// the memory that takes. It keeps the slices it was given until Reset. The zero
// Batch is empty. One goroutine at a time.
type Batch struct {
	n     int
	m     [Max]message
	nonce [nonceLen]byte // for the library, which lets its nonces escape
	scratch
}

// Reset empties b.
func (b *Batch) Reset() {
	clear(b.m[:b.n])
	b.n = 0
}

// Len returns how many messages b holds.
func (b *Batch) Len() int { return b.n }

// Add adds one message: sealed is its text, in clear or not, and the tag, which
// are not to overlap with other messages of b. No counter may come twice under
// one key for sealing. Add panics if b is full, or the text has less than no
// bytes or more than 65535.
func (b *Batch) Add(sealed []byte, counter uint64) {
	if len(sealed) > maxText+TagLen {
		panic("BUG: a text of more than 65535 bytes")
	}
	b.m[b.n] = message{text: sealed[:len(sealed)-TagLen], counter: counter}
	b.n++
}

// OK reports whether message i was found authentic by Open.
func (b *Batch) OK(i int) bool { return b.m[i].ok }

// Counter returns the counter of message i.
func (b *Batch) Counter(i int) uint64 { return b.m[i].counter }
