package launcher

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// executeName makes the test binary, started under it, become its arguments by
// execute, which a test itself would not survive.
const executeName = "test-execute"

// executeFailed is the status of a process in which execute returned.
const executeFailed = 99

func TestMain(m *testing.M) {
	Main(os.Args) // the attempts start this executable again
	switch os.Args[0] {
	case executeName:
	case surroundedName:
		surrounded(os.Args[1:])
	default:
		os.Exit(m.Run())
	}
	err := execute(os.Args[1:], os.Environ())
	var errno syscall.Errno
	errors.As(err, &errno)
	fmt.Print(int(errno))
	os.Exit(executeFailed)
}

// runExecute executes argv in a process of its own, with path as PATH, and
// returns what the command printed, or the errno of execute.
func runExecute(t *testing.T, path string, argv ...string) (out string, errno syscall.Errno) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = append([]string{executeName}, argv...)
	cmd.Env = []string{"PATH=" + path}
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(b), 0
	case errors.As(err, &exit) && exit.ExitCode() == executeFailed:
		fmt.Sscan(string(b), &errno)
		return "", errno
	}
	t.Fatalf("%q: %v", argv, err)
	return "", 0
}

// writeProgram writes a file named name in a directory of its own, which it
// returns.
func writeProgram(t *testing.T, name, text string, mode os.FileMode) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// execvp(3): a file that the kernel does not know how to execute is the shell's.
func TestScriptWithoutAnInterpreterIsTheShells(t *testing.T) {
	dir := writeProgram(t, "script", `echo "$0|$1|$#"`+"\n", 0o755)
	full := filepath.Join(dir, "script")
	want := full + "|a  b|2\n"
	for _, name := range []string{"script", full} {
		if out, errno := runExecute(t, dir, name, "a  b", ""); out != want || errno != 0 {
			t.Errorf("%s: got %q, %v; want %q", name, out, errno, want)
		}
	}
}

func TestProgramGetsItsNameAndItsArguments(t *testing.T) {
	out, errno := runExecute(t, "/nonexistent:/bin:/usr/bin", "sh", "-c", `echo "$0|$1"`, "zero", "-one")
	if out != "zero|-one\n" || errno != 0 {
		t.Errorf("got %q, %v", out, errno)
	}
}

func TestWhatCannotBeExecutedSaysWhy(t *testing.T) {
	plain := writeProgram(t, "plain", "true\n", 0o644)
	orphan := writeProgram(t, "orphan", "#!/nonexistent/interpreter\n", 0o755)
	for _, c := range []struct {
		what, path, name string
		want             syscall.Errno
	}{
		{"not in PATH", plain, "nothing", unix.ENOENT},
		{"no PATH", "", "sh", unix.ENOENT},
		{"no such file", plain, filepath.Join(plain, "nothing"), unix.ENOENT},
		{"not executable", plain, filepath.Join(plain, "plain"), unix.EACCES},
		{"a directory", plain, plain, unix.EISDIR},
		{"without its interpreter", orphan, "orphan", unix.ENOENT},
	} {
		if out, errno := runExecute(t, c.path, c.name); errno != c.want {
			t.Errorf("%s: got %q, %v; want %v", c.what, out, errno, c.want)
		}
	}
}

// The errno of execve becomes the status that a shell and env(1) give it.
func TestFailedExecveHasTheStatusOfAShell(t *testing.T) {
	for errno, want := range map[syscall.Errno]int{
		unix.ENOENT: CodeNotFound, unix.EACCES: CodeCannotRun, unix.EISDIR: CodeCannotRun, unix.E2BIG: CodeCannotRun,
	} {
		var f *Error
		err := execFailure(&stageReport{Step: stepExec, Text: "prog", Errno: errno})
		if !errors.As(err, &f) || f.Code != want {
			t.Errorf("%v: got %v, want status %d", errno, err, want)
		}
	}
}
