package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"adit/e2e/lab"
	"adit/e2e/suite"
)

// Confinements are places in which something is forbidden, made by e2e/confine:
// which mode --mode auto takes there, that it works, and what is said.

// A confinement is one such place.
type confinement struct {
	name    string
	confine []string
	root    bool // the caller is uid 0, as in most containers
	noIPv6  bool // the host has none
	mode    string
	reasons map[string]string // of the modes that do not work, what doctor says
}

const (
	layerFilter   = "seccomp"
	layerListener = "another program listens to its system calls already"
)

// The deny list of Docker's and no more than that is what most containers have.
var confinements = []confinement{
	{name: "nothing forbidden", mode: "namespace"},
	{name: "no_new_privs", confine: []string{"-nnp"}, mode: "namespace"},
	{name: "no TUN", confine: []string{"-no-tun"}, mode: "namespace"},
	{name: "read-only proc sys", confine: []string{"-ro-proc-sys"}, mode: "namespace"},
	{name: "a listener", confine: []string{"-listener"}, mode: "namespace", reasons: map[string]string{"seccomp": layerListener}},
	{name: "no user namespaces", confine: []string{"-max-userns", "0"}, mode: "seccomp",
		reasons: map[string]string{"namespace": "user.max_user_namespaces is 0: clone: no space left on device"}},
	{name: "a chroot", confine: []string{"-chroot", "JAIL"}, mode: "seccomp", reasons: map[string]string{"namespace": "in a chroot"}},
	{name: "AppArmor", confine: []string{"-apparmor"}, mode: "seccomp",
		reasons: map[string]string{"namespace": "AppArmor restricts user namespaces"}},
	// Found out when the namespaces are there already.
	{name: "no mounts", confine: []string{"-refuse", "mount"}, mode: "seccomp",
		reasons: map[string]string{"namespace": "make the mounts our own: operation not permitted"}},
	{name: "docker", confine: []string{"-docker"}, mode: "seccomp", reasons: map[string]string{"namespace": layerFilter}},
	{name: "docker with no_new_privs", confine: []string{"-docker", "-nnp"}, mode: "seccomp", reasons: map[string]string{"namespace": layerFilter}},
	{name: "docker without IPv6", confine: []string{"-docker", "-ro-proc-sys"}, noIPv6: true, mode: "seccomp",
		reasons: map[string]string{"namespace": layerFilter}},
	{name: "docker and a listener", confine: []string{"-docker", "-listener"}, mode: "preload",
		reasons: map[string]string{"namespace": layerFilter, "seccomp": layerListener}},
	// As with yama's ptrace_scope 2, which is not to be had everywhere.
	{name: "docker, memory closed", confine: []string{"-docker", "-refuse", "process_vm_readv,process_vm_writev"}, mode: "preload",
		reasons: map[string]string{"namespace": layerFilter, "seccomp": "process_vm_readv: operation not permitted"}},
	{name: "docker without IPv6, and a listener", confine: []string{"-docker", "-listener"}, noIPv6: true, mode: "preload",
		reasons: map[string]string{"namespace": layerFilter, "seccomp": layerListener}},
	{name: "docker without seccomp", confine: []string{"-docker", "-refuse", "seccomp"}, reasons: map[string]string{
		"namespace": layerFilter, "seccomp": "install a filter with a listener: operation not permitted",
		"preload": "install a filter: operation not permitted"}},

	{name: "root", root: true, mode: "namespace"},
	{name: "root with docker's capabilities", root: true, confine: []string{"-caps", "docker"}, mode: "namespace"},
	{name: "root in docker", root: true, confine: []string{"-docker", "-caps", "docker", "-ro-proc-sys"}, mode: "seccomp",
		reasons: map[string]string{"namespace": layerFilter}},
	{name: "root in docker without IPv6", root: true, confine: []string{"-docker", "-caps", "docker", "-ro-proc-sys"}, noIPv6: true,
		mode: "seccomp", reasons: map[string]string{"namespace": layerFilter}},
	{name: "root in docker with a listener", root: true, confine: []string{"-docker", "-caps", "docker", "-listener"}, mode: "preload",
		reasons: map[string]string{"namespace": layerFilter, "seccomp": layerListener}},
	{name: "uid 0 without capabilities", root: true, confine: []string{"-caps", "none"}, mode: "seccomp",
		reasons: map[string]string{"namespace": "root needs CAP_SETFCAP"}},
	{name: "uid 0 without capabilities in docker", root: true, confine: []string{"-docker", "-caps", "none"}, mode: "seccomp",
		reasons: map[string]string{"namespace": layerFilter}},
}

// buildConfine builds e2e/confine, once.
var buildConfine = sync.OnceValues(func() (string, error) {
	path := filepath.Join(theWorld.Dir, "confine")
	return path, suite.Build(path, "./confine")
})

// confined returns a function that makes commands which run there.
func (w *world) confined(t *testing.T, s confinement) func(argv ...string) *exec.Cmd {
	t.Helper()
	alone := s.root || len(s.confine) > 0 && !slices.Contains(s.confine, "-nnp")
	if alone && !lab.AsRoot() {
		suite.Skip(t, "the tests were not started by root")
	}
	confine, err := buildConfine()
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Clone(s.confine)
	if i := slices.Index(args, "JAIL"); i >= 0 {
		args[i] = w.jail(t)
	}
	if s.noIPv6 {
		if err := lab.DisableIPv6(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := lab.EnableIPv6(); err != nil {
				t.Error(err)
			}
		})
	}
	user := s.user(t, w)
	return func(argv ...string) *exec.Cmd {
		line := slices.Clone(args)
		if lab.AsRoot() && !s.root {
			line = append(line, "-user", strconv.Itoa(user.UID))
		}
		cmd := user.Command(confine, append(append(line, "--"), argv...)...)
		cmd.SysProcAttr.Credential = nil // confine needs root, and becomes the user
		return cmd
	}
}

// user returns the caller, who has a home that they can enter without power over
// the files of others.
func (s confinement) user(t *testing.T, w *world) lab.User {
	t.Helper()
	if !s.root {
		return w.User
	}
	u := w.Root()
	dir := filepath.Join(w.Dir, "root")
	u.Home, u.Runtime, u.Temp = dir, dir, dir
	if err := os.Mkdir(dir, 0o700); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
	} else if !os.IsExist(err) {
		t.Fatal(err)
	}
	return u
}

// write writes the usual configuration to a file of the caller's.
func (s confinement) write(t *testing.T, w *world) string {
	t.Helper()
	path, err := s.user(t, w).WriteFile("wg0.conf", conf{}.text(w), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// jail makes a folder for a chroot. Nothing is deleted but what is empty.
func (w *world) jail(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(w.Dir, "jail")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			os.Remove(filepath.Join(dir, e.Name()))
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
