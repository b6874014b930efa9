package wg

import "testing"

// noise.c, index hash table: an index in use is not given out again.
func TestIndicesInUseAreNotReused(t *testing.T) {
	var table indexTable
	p := new(peer)
	draws := []byte{7, 7, 7, 8}
	draw := func(b []byte) { b[0], draws = draws[0], draws[1:] }
	if i := table.add(p, draw); i != 7 {
		t.Fatalf("the first index is %d", i)
	}
	if i := table.add(p, draw); i != 8 || len(draws) != 0 {
		t.Fatalf("the second index is %d, after %d draws", i, 4-len(draws))
	}
	table.remove(7)
	draws = []byte{7}
	if i := table.add(p, draw); i != 7 {
		t.Fatalf("a free index was not given out: %d", i)
	}
	if table.lookup(9) != (indexEntry{}) || table.lookup(7).peer != p {
		t.Fatal("lookups are wrong")
	}
}
