package preload

import (
	"debug/elf"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The shim adds no name to a program but those that it is there for, and asks it
// for few.
func TestSymbolsOfTheShim(t *testing.T) {
	if _, ok := Shim(runtime.GOARCH); !ok {
		t.Skip(ErrNoShim)
	}
	f, err := elf.Open("shim/lib/" + runtime.GOARCH + ".so")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var defined, wanted []string
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF {
			wanted = append(wanted, s.Name)
			if elf.ST_BIND(s.Info) != elf.STB_WEAK {
				t.Errorf("%s is not weak: a program without it would not start", s.Name)
			}
		} else {
			defined = append(defined, s.Name)
		}
	}
	slices.Sort(defined)
	slices.Sort(wanted)
	wantOutput(t, "defined", strings.Join(defined, "\n"), strings.Join(strings.Fields(`
		__res_nquery __res_nquerydomain __res_nsearch __res_nsend __res_query __res_querydomain
		__res_search __res_send accept accept4 bind connect freeaddrinfo getaddrinfo gethostbyaddr
		gethostbyaddr_r gethostbyname gethostbyname2 gethostbyname2_r gethostbyname_r getnameinfo
		getpeername getsockname getsockopt listen res_nquery res_nquerydomain res_nsearch res_nsend
		res_query res_querydomain res_search res_send sendto socket syscall`), "\n"))
	wantOutput(t, "undefined", strings.Join(wanted, "\n"), strings.Join(strings.Fields(`
		__errno_location __h_errno_location free malloc pthread_setcanceltype pthread_testcancel`), "\n"))
	if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("got libraries %v (%v), want none", libraries, err)
	}
}
