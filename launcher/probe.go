package launcher

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// probeNamespace makes the namespaces, furnishes them as for a command and lets
// go of them again: a real attempt of a few milliseconds. It returns which
// device it was.
func probeNamespace(ctx context.Context) (string, error) {
	// To the namespaces of a process that is not dumpable an ordinary user can give
	// no mappings (user_namespaces(7)).
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && dumpable != 1 {
		return probeElsewhere(ctx)
	}
	return attemptNamespace(ctx)
}

func attemptNamespace(ctx context.Context) (string, error) {
	s, err := spawnStage(probeName, nil, os.Environ(), mappingFor(false), 0)
	if err != nil {
		return "", err
	}
	defer unix.Wait4(s.pid, nil, 0, nil)
	defer s.close()
	stop := context.AfterFunc(ctx, func() { unix.Kill(s.pid, unix.SIGKILL) })
	defer stop()
	m := mappingFor(false)
	r, files, err := s.furnish(&stageConfig{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")},
		Routes:    []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		MTU:       defaultMTU, KeepEtc: m.whole,
	})
	if err != nil {
		return "", err
	}
	for _, f := range files {
		f.Close()
	}
	if r.Device == "veth" {
		return fmt.Sprintf("veth pair (no TUN: %s)", r.NoTUN), nil
	}
	return "TUN", nil
}

// probeElsewhere has a child make the attempt.
func probeElsewhere(ctx context.Context) (string, error) {
	var r stageReport
	err := withProbe(ctx, probeNamespaces, func(p *stage, _ int) error {
		_, err := p.sock.receive(&r)
		return err
	})
	switch {
	case err != nil:
		return "", errStep("make the attempt", err)
	case r.Text != "":
		return "", errReported("namespace", r.Text, r.Notes)
	}
	return r.Device, nil
}

// reportNamespace is that child's part.
func reportNamespace(sock *seqpacket) {
	detail, err := attemptNamespace(context.Background())
	r := stageReport{Device: detail}
	if err != nil {
		r.Text, r.Notes = strings.TrimPrefix(err.Error(), "mode namespace: "), hintsOf(err)
	}
	sock.send(&r)
}

// probeMain is the main of the process that probeNamespace starts.
func probeMain(args []string) {
	runtime.LockOSThread()
	sock, _, err := stageArgs(args)
	if err != nil {
		os.Exit(CodeFailed)
	}
	if err := probeRun(sock); err != nil {
		sock.send(failureReport(err))
		os.Exit(CodeFailed)
	}
	os.Exit(0)
}

func probeRun(sock *seqpacket) error {
	var c stageConfig
	if _, err := sock.receive(&c); err != nil {
		return step("receive the configuration", err)
	}
	r := &stageReport{}
	device, err := furnishNetwork(&c, r)
	if err != nil {
		return err
	}
	if err := furnishFiles(&c, r); err != nil {
		return err
	}
	return sock.send(r, device)
}
