package launcher

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeMachine has the given files, and user namespaces in its kernel.
func fakeMachine(files map[string]string) *machine {
	return &machine{
		read: func(path string) string { return files[path] },
		stat: func(path string) bool {
			_, ok := files[path]
			return ok || path == "/proc/self/ns/user" && files["no userns"] == ""
		},
	}
}

func TestRefusalNamesTheLayerAndWhatToType(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		err   error
		text  string
		hint  string
	}{
		{"no limit left", map[string]string{"/proc/sys/user/max_user_namespaces": "0"}, unix.ENOSPC,
			"user.max_user_namespaces is 0", "sudo sysctl -w user.max_user_namespaces=10000"},
		{"no network namespaces", map[string]string{"/proc/sys/user/max_net_namespaces": "0"}, unix.ENOSPC,
			"user.max_net_namespaces is 0", "sudo sysctl -w user.max_net_namespaces=10000"},
		{"debian's switch", map[string]string{"/proc/sys/kernel/unprivileged_userns_clone": "0"}, unix.EPERM,
			"kernel.unprivileged_userns_clone is 0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"ubuntu", map[string]string{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, unix.EACCES,
			"AppArmor restricts user namespaces", "adit setup apparmor --print"},
		{"docker", map[string]string{"/.dockerenv": "", "/proc/self/status": "Name:\tx\nSeccomp:\t2\n"}, unix.EPERM,
			"the container's seccomp profile", "--security-opt seccomp=unconfined"},
		{"root without a capability", map[string]string{"/proc/self/status": "Uid:\t0\t0\t0\t0\nCapEff:\t000000000000feff\n"}, unix.EPERM,
			"root needs CAP_SETFCAP", ""},
		{"root with it", map[string]string{"/proc/self/status": "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n"}, unix.EPERM, "not permitted here", "adit doctor"},
		{"a user without it", map[string]string{"/proc/self/status": "Uid:\t7\t7\t7\t7\nCapEff:\t0000000000000000\n"}, unix.EPERM, "not permitted here", "adit doctor"},
		{"no kernel support", map[string]string{"no userns": "x"}, unix.EINVAL, "CONFIG_USER_NS", ""},
		{"nested too deep", nil, unix.ENOSPC, "nested more than 32 deep", "adit doctor"},
		{"nobody knows", nil, unix.EPERM, "not permitted here: clone: operation not permitted", "adit doctor"},
	}
	for _, tt := range tests {
		e := usernsRefused(fakeMachine(tt.files), "clone", tt.err)
		if !strings.Contains(e.Error(), tt.text) || e.Code != CodeFailed {
			t.Errorf("%s: got %q, code %d; want %q", tt.name, e.Error(), e.Code, tt.text)
		}
		if hints := strings.Join(e.Hints, "\n"); !strings.Contains(hints, tt.hint) {
			t.Errorf("%s: got hints %q, want %q", tt.name, hints, tt.hint)
		}
	}
}

func TestDenialNamesTheLayerAndWhatToType(t *testing.T) {
	filtered := func(marks ...string) map[string]string {
		files := map[string]string{"/proc/self/status": "Name:\tx\nSeccomp:\t2\n"}
		for _, m := range marks {
			files[m] = ""
		}
		return files
	}
	tests := []struct {
		name  string
		files map[string]string
		step  string
		err   error
		text  string
		hint  string
	}{
		{"an old kernel", nil, stepListen, unix.EINVAL, "Linux 5.0 or later", ""},
		{"a sandbox", nil, stepListen, unix.EBUSY, "another program listens", ""},
		{"yama 2", map[string]string{yamaScope: "2"}, stepRead, unix.EPERM, "ptrace_scope is 2", "sudo sysctl -w kernel.yama.ptrace_scope=1"},
		{"yama 3", map[string]string{yamaScope: "3"}, stepWrite, unix.EPERM, "ptrace_scope is 3", ""},
		{"yama 1 is no obstacle", map[string]string{yamaScope: "1"}, stepRead, unix.EPERM, "mode seccomp: process_vm_readv: operation not permitted", "adit doctor"},
		{"SELinux", map[string]string{"/sys/fs/selinux/booleans/deny_ptrace": "1 1"}, stepRead, unix.EACCES, "deny_ptrace", "sudo setsebool deny_ptrace off"},
		{"docker", filtered("/.dockerenv"), stepListen, unix.EPERM, "the container's seccomp profile", "--security-opt seccomp=unconfined"},
		{"kubernetes", filtered("/run/secrets/kubernetes.io/serviceaccount"), stepRead, unix.EPERM, "the container's seccomp profile", "seccompProfile"},
		{"systemd", filtered(), stepListen, unix.EPERM, "a seccomp filter of the caller", ""},
		{"used up", filtered(), stepListen, unix.EMFILE, "mode seccomp: install a filter with a listener: too many open files", "ulimit -n"},
		{"Linux before 5.7", nil, stepBindToLo, unix.EPERM, "Linux 5.7", ""},
		{"Linux before 5.14", nil, stepHandOut, unix.EINVAL, "Linux 5.14", ""},
		{"no loopback", nil, stepLoopback, unix.ENETUNREACH, "the loopback interface is down", "sudo ip link set lo up"},
		{"noexec", nil, stepPlace, unix.EPERM, "no folder will do", "XDG_RUNTIME_DIR="},
		{"nobody knows", nil, stepLoopback, unix.ETIMEDOUT, "connect over lo: connection timed out", "adit doctor"},
	}
	for _, tt := range tests {
		e := modeDenied(fakeMachine(tt.files), "seccomp", tt.step, tt.err)
		if !strings.Contains(e.Error(), tt.text) || e.Code != CodeFailed {
			t.Errorf("%s: got %q, code %d; want %q", tt.name, e.Error(), e.Code, tt.text)
		}
		if hints := strings.Join(e.Hints, "\n"); !strings.Contains(hints, tt.hint) || tt.hint == "" && hints != "" {
			t.Errorf("%s: got hints %q, want %q", tt.name, hints, tt.hint)
		}
	}
}

func TestProgramThatCannotBeReadIsExplained(t *testing.T) {
	status := func(uids string) *machine {
		return fakeMachine(map[string]string{"/proc/7/status": "Name:\thttp\nUid:\t" + uids + "\nGid:\t0\t0\t0\t0\n"})
	}
	for _, tt := range []struct {
		name string
		m    *machine
		want string
	}{
		{"http", status("42\t42\t42\t42"), "http (7) has no network: its memory cannot be read, because it has changed its user to 42; for apt: " + hintApt},
		{"gosu", status("0\t42\t0\t42"), "it has changed its user to 42"},
		{"ssh-agent", status("0\t0\t0\t0"), "PR_SET_DUMPABLE"},
		{"gone", fakeMachine(nil), "PR_SET_DUMPABLE"},
	} {
		if got := warnUnreadable(tt.name, 7, whyUnreadable(tt.m, 7, 0)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
