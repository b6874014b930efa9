package wg

import (
	"encoding/binary"
	"sync"
)

// An indexTable says to whom a message for a receiver index belongs: a peer's
// handshake in flight (session nil) or one of its sessions.
type indexTable struct {
	mu sync.RWMutex // guards m
	m  map[uint32]indexEntry
}

type indexEntry struct {
	peer    *peer
	session *session
}

// add returns a new index for p: random, so that it says nothing about how
// many there are, and not in use.
func (t *indexTable) add(p *peer, random func([]byte)) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[uint32]indexEntry)
	}
	for {
		var b [4]byte
		random(b[:])
		i := binary.LittleEndian.Uint32(b[:])
		if _, used := t.m[i]; !used {
			t.m[i] = indexEntry{peer: p}
			return i
		}
	}
}

// bind says that index i, which add returned, now belongs to s.
func (t *indexTable) bind(i uint32, p *peer, s *session) {
	t.mu.Lock()
	t.m[i] = indexEntry{p, s}
	t.mu.Unlock()
}

// remove frees index i.
func (t *indexTable) remove(i uint32) {
	t.mu.Lock()
	delete(t.m, i)
	t.mu.Unlock()
}

// lookup returns the owner of index i, the zero indexEntry if there is none.
func (t *indexTable) lookup(i uint32) indexEntry {
	t.mu.RLock()
	e := t.m[i]
	t.mu.RUnlock()
	return e
}
