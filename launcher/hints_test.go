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
