package gateway

import (
	"io"
	"sync"
)

// closers is what is open and has to be closed at the end, whoever waits on it,
// and the handlers that wait. The zero value is empty. Safe for concurrent use.
type closers struct {
	mu       sync.Mutex // guards the fields below
	open     map[io.Closer]struct{}
	closed   bool
	handlers sync.WaitGroup // Add only while not closed
}

// begin counts a handler. It reports false if the end has come: then the
// handler must not go on.
func (s *closers) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.handlers.Add(1)
	}
	return !s.closed
}

// end says that a handler has returned.
func (s *closers) end() { s.handlers.Done() }

// wait waits for all handlers. Call it after closeAll.
func (s *closers) wait() { s.handlers.Wait() }

// add remembers c, and reports false, after closing it, if the end has come.
func (s *closers) add(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	if s.open == nil {
		s.open = make(map[io.Closer]struct{})
	}
	s.open[c] = struct{}{}
	return true
}

// remove closes c and forgets it.
func (s *closers) remove(c io.Closer) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	c.Close()
}

// closeAll closes everything, now and what is added later.
func (s *closers) closeAll() {
	s.mu.Lock()
	open := s.open
	s.open, s.closed = nil, true
	s.mu.Unlock()
	for c := range open {
		c.Close()
	}
}
