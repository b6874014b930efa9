package sockets

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"adit/e2e/lab"
)

// TestHandlerRunsWhileAConnectionIsBeingMade: a signal is handled at its time, not
// when the connection is there, and the call then ends or goes on as
// sigaction(2) has it.
func TestHandlerRunsWhileAConnectionIsBeingMade(t *testing.T) {
	const after = 400 * time.Millisecond
	onTime := span{after - 10*time.Millisecond, after + 400*time.Millisecond}
	inParallel(t, func(t *testing.T, w *world, s surrounding, program string) {
		for _, to := range both {
			start := func(t *testing.T, more ...string) (*client, *talk) {
				t.Parallel()
				c := w.client(t, s)
				c.gate(t, "w")
				argv := []string{program, "signals", to, strconv.Itoa(c.fullPort()), strconv.Itoa(int(after.Milliseconds()))}
				return c, c.talk(t, 30*time.Second, append(argv, more...)...)
			}
			t.Run(to+"/SA_RESTART", func(t *testing.T) {
				c, k := start(t, "restart")
				if took := seconds(t, k.line("handled")); !onTime.has(took) {
					t.Errorf("the handler ran after %v, want %v", took, onTime)
				}
				c.gate(t, "o")
				got := strings.Fields(k.line("connect"))
				if took := seconds(t, got[1]); got[0] != "0" || took < after {
					t.Errorf("got connect %v, want success after more than %v", got, after)
				}
			})
			t.Run(to+"/without", func(t *testing.T) {
				_, k := start(t)
				k.line("handled")
				got := strings.Fields(k.line("connect"))
				if took := seconds(t, got[1]); got[0] != "EINTR" || !onTime.has(took) {
					t.Errorf("got connect %v, want EINTR within %v", got, onTime)
				}
			})
		}
	})
}

func TestThousandConnectsDoNotWaitForEachOther(t *testing.T) {
	eachProgram(t, func(t *testing.T, w *world, s surrounding, program string) {
		for i, to := range both {
			t.Run(to, func(t *testing.T) {
				a := answers(w.client(t, s).run(t, 90*time.Second, program, "many", to, strconv.Itoa(portEcho), "1000", drops[i].String()))
				if fmt.Sprint(a["made"], a["good"], a["waits"]) != "[1000] [1000] [1]" {
					t.Errorf("got %v, want 1000 made and good, and the one in front of them still waiting", a)
				}
				if took := seconds(t, a["seconds"][0]); took > 20*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		}
	})
}

func TestThreadsDoNotWaitForEachOther(t *testing.T) {
	eachProgram(t, func(t *testing.T, w *world, s surrounding, program string) {
		for i, to := range both {
			t.Run(to, func(t *testing.T) {
				a := answers(w.client(t, s).run(t, 90*time.Second, program, "threads", to, strconv.Itoa(portEcho), "300", drops[i].String()))
				if got := fmt.Sprint(a["good"]); got != "[300]" {
					t.Errorf("got %v, want 300 good", a)
				}
				if took := seconds(t, a["seconds"][0]); took > 20*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		}
	})
}

func TestWhoeverIsStartedConnects(t *testing.T) {
	inParallel(t, func(t *testing.T, w *world, s surrounding, program string) {
		c := w.client(t, s)
		for _, to := range both {
			text := c.run(t, 60*time.Second, program, "kinds", to, strconv.Itoa(portEcho))
			lines := 0
			for l := range strings.Lines(text) {
				what, how, _ := strings.Cut(strings.TrimSpace(l), " ")
				if how == "ok" || s.docker && what == "clone3" && how == "Function not implemented" {
					lines++ // Docker answers clone3 so
					continue
				}
				// The words of what exec ran: see calls dial.
				if what != "calling" && what != "connect" && what != "so_error" {
					t.Errorf("%s: %s: %s", to, what, how)
				}
			}
			if lines != 10 {
				t.Errorf("%s: got %d kinds, want 10:\n%s", to, lines, text)
			}
		}
	})
}

// TestSocketsThatAreClosedAreLetGo: neither the program's nor adit's processes
// keep descriptors of sockets that are gone.
func TestSocketsThatAreClosedAreLetGo(t *testing.T) {
	inParallel(t, func(t *testing.T, w *world, s surrounding, program string) {
		k := w.client(t, s).talk(t, 120*time.Second, program, "cycles", both[0], strconv.Itoa(portEcho), "300", drops[0].String())
		k.line("ready")
		before := descriptors(k.cmd.Process.Pid)
		fmt.Fprintln(k.in, "go")
		k.line("done")
		const more = 12 // what a warm program has more than a cold one
		var after int
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if after = descriptors(k.cmd.Process.Pid); after <= before+more {
				return
			}
		}
		t.Errorf("got %d descriptors of all processes, want the %d from before and at most %d more", after, before, more)
	})
}

// descriptors counts those of a process and all below it.
func descriptors(pid int) (n int) {
	pids := []int{pid}
	for _, p := range lab.Descendants(pid) {
		pids = append(pids, p.PID)
	}
	for _, pid := range pids {
		list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		n += len(list)
	}
	return n
}

// TestCallsGoOnInAStormOfSignals: a call that a signal interrupts is made again by
// the kernel (SA_RESTART), with the same arguments; it must be one call. In seccomp
// mode the kernel makes two of some calls: see docs/testing.md.
func TestCallsGoOnInAStormOfSignals(t *testing.T) {
	const rounds = 500
	eachProgram(t, func(t *testing.T, w *world, s surrounding, program string) {
		want := rounds
		if s.mode == "seccomp" && os.Getenv("ADIT_STORM") == "" {
			want = rounds * 95 / 100
		}
		for i, loopback := range []string{"127.0.0.1", "::1"} {
			t.Run(both[i], func(t *testing.T) {
				text := w.client(t, s).run(t, 3*time.Minute, program, "storm", both[i], strconv.Itoa(portEcho), strconv.Itoa(rounds), loopback)
				a := answers(text)
				for _, what := range []string{"blocking", "nonblocking", "accepted", "refused", "bound", "datagrams"} {
					if s.mode == "preload" && what == "datagrams" {
						continue
					}
					good := -1
					if got := a[what]; len(got) == 1 {
						good, _ = strconv.Atoi(got[0])
					}
					if good < want {
						t.Errorf("%s: %d of %d rounds went well, want %d:\n%s", what, good, rounds, want, text)
					} else if good < rounds {
						t.Logf("%s: %d of %d rounds went well", what, good, rounds)
					}
				}
			})
		}
	})
}
