package main

import (
	"strings"
	"testing"
)

func TestManyPrefixesFitIntoAFile(t *testing.T) {
	text := morePrefixes(nPrefixes)
	if got := strings.Count(text, ",") + 1; got != nPrefixes {
		t.Errorf("got %d prefixes, want %d", got, nPrefixes)
	}
	if len(text) > 1<<20-4096 {
		t.Errorf("got %d bytes, which is too much for one file", len(text))
	}
}
