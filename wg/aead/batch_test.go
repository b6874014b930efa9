package aead

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// onEveryPath runs f with the kernels of this package, whatever the batch, and
// with the library.
func onEveryPath(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer func(v, a bool) { useVector, testOnlyAlways = v, a }(useVector, testOnlyAlways)
	testOnlyAlways = true
	t.Run("vector", func(t *testing.T) {
		if useVector = hasVector; !hasVector {
			t.Skip("no kernel for this machine: it needs AVX-512 with IFMA and VBMI2")
		}
		f(t)
	})
	useVector = false
	t.Run("library", f)
}

// A sample is messages that lie in one piece of memory, with bytes between them
// that are nobody's, and what the library makes of each.
type sample struct {
	key     Key
	memory  []byte
	at      []int // where in memory each text begins
	texts   [][]byte
	sealed  [][]byte
	counter []uint64
}

// newSample makes a sample of texts of those lengths. Texts, key, counters and
// gaps come from rnd.
func newSample(rnd *rand.Rand, lengths ...int) *sample {
	s := new(sample)
	random := func(b []byte) {
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
	}
	var key [keyLen]byte
	random(key[:])
	s.key.Init(&key)
	library, _ := chacha20poly1305.New(key[:])
	end := 0
	for _, n := range lengths {
		end += rnd.IntN(70)
		s.at = append(s.at, end)
		text := make([]byte, n)
		random(text)
		counter := rnd.Uint64() >> rnd.IntN(64)
		var nonce [nonceLen]byte
		binary.LittleEndian.PutUint64(nonce[4:], counter)
		s.counter = append(s.counter, counter)
		s.texts = append(s.texts, text)
		s.sealed = append(s.sealed, library.Seal(nil, nonce[:], text, nil))
		end += n + TagLen
	}
	s.memory = make([]byte, end+rnd.IntN(70))
	random(s.memory)
	return s
}

// batch returns a batch of the sample's messages, put into its memory.
func (s *sample) batch(messages [][]byte) *Batch {
	b := new(Batch)
	for i, m := range messages {
		at := s.at[i]
		copy(s.memory[at:], m)
		end := at + len(s.texts[i]) + TagLen
		b.Add(s.memory[at:end:end], s.counter[i])
	}
	return b
}

// check fails unless memory holds those messages and else what it held before.
func (s *sample) check(t *testing.T, what string, before []byte, messages [][]byte) {
	t.Helper()
	want := bytes.Clone(before)
	for i, m := range messages {
		copy(want[s.at[i]:], m)
		if got := s.memory[s.at[i] : s.at[i]+len(m)]; !bytes.Equal(got, m) {
			t.Fatalf("%s: message %d of %d, %d bytes, counter %#x:\ngot  %x\nwant %x",
				what, i, len(messages), len(s.texts[i]), s.counter[i], got, m)
		}
	}
	if !bytes.Equal(s.memory, want) {
		t.Fatalf("%s: bytes beside the messages were written", what)
	}
}

// roundTrip seals and opens the sample and compares with the library.
func (s *sample) roundTrip(t *testing.T) {
	t.Helper()
	b := s.batch(s.texts)
	before := bytes.Clone(s.memory)
	s.key.Seal(b)
	s.check(t, "sealed", before, s.sealed)
	s.key.Open(b)
	for i := range b.Len() {
		if !b.OK(i) {
			t.Fatalf("message %d of %d, %d bytes, is not authentic", i, b.Len(), len(s.texts[i]))
		}
	}
	s.check(t, "opened", s.memory, s.texts)
}

func TestEveryLengthAgreesWithTheLibrary(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 1))
		for n := range 2049 {
			newSample(rnd, n).roundTrip(t)
			same := make([]int, 1+n%45)
			for i := range same {
				same[i] = n
			}
			newSample(rnd, same...).roundTrip(t)
		}
		for _, n := range []int{2111, 4096, 8191, 8192, 9001, 16384, 32767, 65519, 65520, 65534, 65535} {
			newSample(rnd, n).roundTrip(t)
			newSample(rnd, n, n-1, 1420, n, 64, 0).roundTrip(t)
		}
	})
}

func TestEveryBatchSizeAgreesWithTheLibrary(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for n := 1; n <= Max; n++ {
			equal, mixed, last := make([]int, n), make([]int, n), make([]int, n)
			for i := range n {
				equal[i], last[i] = 1420, 1420
				mixed[i] = rnd.IntN(2049) >> rnd.IntN(12)
			}
			last[n-1] = rnd.IntN(1420)
			newSample(rnd, equal...).roundTrip(t)
			newSample(rnd, mixed...).roundTrip(t)
			newSample(rnd, last...).roundTrip(t)
		}
	})
}

func TestEveryAlignmentAgreesWithTheLibrary(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 3))
		for shift := range 64 {
			s := newSample(rnd, 1420, 1420, 100, 64, 0)
			s.memory = append(make([]byte, shift), s.memory...)
			for i := range s.at {
				s.at[i] += shift
			}
			s.roundTrip(t)
		}
	})
}

func TestCountersAtTheEdges(t *testing.T) {
	edges := []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1<<13 - 2, 1<<64 - 1}
	onEveryPath(t, func(t *testing.T) {
		var k Key
		var key [keyLen]byte
		k.Init(&key)
		library, _ := chacha20poly1305.New(key[:])
		var b Batch
		var got, want [][]byte
		for _, c := range edges {
			m := make([]byte, 200+TagLen)
			var nonce [nonceLen]byte
			binary.LittleEndian.PutUint64(nonce[4:], c)
			want = append(want, library.Seal(nil, nonce[:], m[:200], nil))
			got = append(got, m)
			b.Add(m, c)
		}
		k.Seal(&b)
		for i := range got {
			if !bytes.Equal(got[i], want[i]) || b.Counter(i) != edges[i] {
				t.Errorf("counter %#x: got %x, want %x", edges[i], got[i], want[i])
			}
		}
	})
}

// What follows from the sample being forged: the message is cleared, all others
// are opened.
func (s *sample) forge(t *testing.T, which int, change func(m []byte)) {
	t.Helper()
	b := s.batch(s.sealed)
	m := s.memory[s.at[which] : s.at[which]+len(s.sealed[which])]
	change(m)
	tag := bytes.Clone(m[len(m)-TagLen:])
	before := bytes.Clone(s.memory)
	s.key.Open(b)
	want := append([][]byte(nil), s.texts...)
	want[which] = append(make([]byte, len(m)-TagLen), tag...)
	for i := range b.Len() {
		if b.OK(i) != (i != which) {
			t.Fatalf("message %d, %d bytes: authentic: %v; %d is the forged one", i, len(s.texts[i]), b.OK(i), which)
		}
	}
	s.check(t, "opened with a forgery", before, want)
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 4))
		s := newSample(rnd, 100, 147, 100, 0, 100, 1420, 100, 100, 3)
		for which := range s.sealed {
			if which == 5 {
				continue // below
			}
			for bit := range 8 * len(s.sealed[which]) {
				s.forge(t, which, func(m []byte) { m[bit/8] ^= 1 << (bit % 8) })
			}
		}
		for at := range s.sealed[5] {
			s.forge(t, 5, func(m []byte) { m[at] ^= byte(1 + rnd.IntN(255)) })
		}
	})
}

func TestForgedMessagesDoNotDisturbOthers(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 5))
		lengths := make([]int, 45)
		for i := range lengths {
			lengths[i] = 1420
		}
		lengths[44] = 77
		s := newSample(rnd, lengths...)
		for which := range lengths {
			s.forge(t, which, func(m []byte) { m[rnd.IntN(len(m))] ^= 0x80 })
			s.forge(t, which, func(m []byte) { clear(m) })
			s.forge(t, which, func(m []byte) { copy(m, m[16:]) }) // the tag of nothing
			s.forge(t, which, func(m []byte) { m[len(m)-1]++ })
		}
		for which := range 44 { // somebody else's tag, and all of somebody else's message
			s.forge(t, which, func(m []byte) { copy(m[1420:], s.sealed[(which+1)%44][1420:]) })
			s.forge(t, which, func(m []byte) { copy(m, s.sealed[(which+1)%44]) })
		}
	})
}

func TestMessagesThatWereCutAreNoticed(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 6))
		s := newSample(rnd, 300, 300, 300)
		for n := TagLen; n < 300+TagLen; n++ {
			copy(s.memory, s.sealed[0])
			var b Batch
			b.Add(s.memory[:n], s.counter[0])
			b.Add(s.sealed[1][:n], s.counter[1])
			s.key.Open(&b)
			if b.OK(0) || b.OK(1) || !bytes.Equal(s.memory[:n-TagLen], make([]byte, n-TagLen)) {
				t.Fatalf("the first %d bytes of a message are authentic, or not cleared", n)
			}
			s = newSample(rnd, 300, 300, 300)
		}
	})
}

func TestAllMessagesMayBeForged(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		s := newSample(rand.New(rand.NewPCG(1, 7)), 64, 64, 1420, 1420, 5)
		b := s.batch(s.sealed)
		for _, at := range s.at {
			s.memory[at]++
		}
		s.key.Open(b)
		for i, text := range s.texts {
			if b.OK(i) || !bytes.Equal(s.memory[s.at[i]:s.at[i]+len(text)], make([]byte, len(text))) {
				t.Errorf("message %d is authentic, or not cleared", i)
			}
		}
	})
}

func TestSealingAndOpeningDoNotAllocate(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		s := newSample(rand.New(rand.NewPCG(1, 8)), 1420, 1420, 64, 1420, 0, 900)
		b := s.batch(s.texts)
		if n := testing.AllocsPerRun(100, func() {
			s.key.Seal(b)
			s.key.Open(b)
			b.Reset()
			for i, at := range s.at {
				b.Add(s.memory[at:at+len(s.sealed[i])], s.counter[i])
			}
		}); n != 0 {
			t.Fatalf("sealing and opening a batch allocates %v times", n)
		}
	})
}

// A Key belongs to all, a Batch to one.
func TestAKeyIsForSeveralGoroutines(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		s := newSample(rand.New(rand.NewPCG(1, 9)), 1420, 1420, 1420, 700)
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for range 50 {
					mine := sample{memory: bytes.Clone(s.memory), at: s.at, texts: s.texts, counter: s.counter}
					b := mine.batch(s.texts)
					s.key.Seal(b)
					for i, at := range s.at {
						if !bytes.Equal(mine.memory[at:at+len(s.sealed[i])], s.sealed[i]) {
							t.Errorf("message %d was sealed wrongly beside others", i)
						}
					}
				}
			})
		}
		wait.Wait()
	})
}

func TestBatchesHaveLimits(t *testing.T) {
	for name, f := range map[string]func(b *Batch){
		"shorter than a tag": func(b *Batch) { b.Add(make([]byte, TagLen-1), 0) },
		"too long":           func(b *Batch) { b.Add(make([]byte, maxText+1+TagLen), 0) },
		"too many": func(b *Batch) {
			for range Max + 1 {
				b.Add(make([]byte, TagLen), 0)
			}
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: was taken", name)
				}
			}()
			f(new(Batch))
		}()
	}
}

// RFC 8439 §A.1, test vector 2: block 1 under a key of zeros. Zeros are sealed to
// the key stream.
func TestKeyStreamOfRFC8439(t *testing.T) {
	const want = "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed" +
		"29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
	onEveryPath(t, func(t *testing.T) {
		var k Key
		k.Init(new([keyLen]byte))
		var b Batch
		m := make([]byte, 64+TagLen)
		b.Add(m, 0)
		k.Seal(&b)
		if got := fmt.Sprintf("%x", m[:64]); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}
