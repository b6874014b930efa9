//go:build !amd64

package packet

const (
	vector      = 1
	vectorLeast = 1
	hasVector   = false
)

func sumVector(b *byte, n int) uint64            { panic("BUG: no vector code") }
func copySumVector(dst, src *byte, n int) uint64 { panic("BUG: no vector code") }
