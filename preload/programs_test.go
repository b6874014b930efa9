package preload

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runTool runs a program that may not be installed: of the system's folders, which
// everybody can reach.
func (r *rig) runTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/local/bin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return r.run(t, append([]string{path}, args...)...)
		}
	}
	t.Skip(name + " is not installed")
	return ""
}

const (
	pythonCrowd = `
import asyncio, urllib.request, threading
def get(): return urllib.request.urlopen("http://www.test/thread", timeout=20).read().decode()
got = []
threads = [threading.Thread(target=lambda: got.append(get())) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(len(got), set(g.split()[0] for g in got) <= {"10.9.0.2", "fd09::2"})
async def one(i):
    r, w = await asyncio.open_connection("10.9.0.1", 7)
    w.write(b"hello %d\n" % i)
    line = await r.readline()
    w.close()
    return line == b"hello %d\n" % i
async def crowd(): return await asyncio.gather(*(one(i) for i in range(200)))
print(sum(asyncio.run(crowd())))
try: asyncio.run(asyncio.open_connection("10.9.0.1", 1))
except OSError as e: print(type(e).__name__)
`
	pythonNames = `
import socket, select
print(socket.gethostbyname("www.test"), socket.getfqdn("10.9.0.1"))
s = socket.create_connection(("four.test", 7))
print(s.getpeername()[:2], s.getsockname()[0])
p = select.poll(); p.register(s); s.send(b"x"); print(s.recv(1), p.poll(5000) != [])
try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
except PermissionError as e: print("udp", e.errno)
l = socket.socket(); l.bind(("", 0)); l.listen()
c = socket.create_connection(("localhost", l.getsockname()[1])); a, where = l.accept()
print(where == c.getsockname(), c.getpeername()[0], l.getsockname()[0])
`
	javaFetch = `
import java.net.*; import java.net.http.*;
public class Fetch { public static void main(String[] a) throws Exception {
  var c = HttpClient.newHttpClient();
  System.out.print(c.send(HttpRequest.newBuilder(URI.create("http://four.test/java")).build(), HttpResponse.BodyHandlers.ofString()).body());
  System.out.println(InetAddress.getByName("six.test").getHostAddress());
  try (var s = new Socket("10.9.0.1", 1)) { } catch (ConnectException e) { System.out.println(e.getMessage()); }
} }
`
	nodeFetch = `
const http = require("http"), net = require("net");
http.get("http://four.test/node", r => { r.on("data", d => process.stdout.write(d)); r.on("end", () => {
  net.connect(1, "10.9.0.1").on("error", e => console.log(e.code));
}); });
`
	perlFetch = `
use IO::Socket::INET;
my $s = IO::Socket::INET->new(PeerAddr => "four.test", PeerPort => 80, Proto => "tcp") or die $!;
print $s "GET /perl HTTP/1.0\r\nHost: four.test\r\n\r\n";
while (<$s>) { print if /asks/ }
`
)

func TestProgramsOfTheSystem(t *testing.T) {
	const refused = "curl: (7) Failed to connect to 10.9.0.1 port 1"
	for _, tt := range []struct {
		name, program, want string
		args                []string
	}{
		{"curl", "curl", "10.9.0.2 asks /curl", []string{"-sS", "http://four.test/curl"}},
		{"curl by IPv6", "curl", "fd09::2 asks /six", []string{"-sS", "http://[fd09::1]/six"}},
		{"curl, of a name with IPv6 alone", "curl", "fd09::2 asks /name", []string{"-sS", "http://six.test/name"}},
		{"curl refused", "sh", refused, []string{"-c", "curl -sS http://10.9.0.1:1/; true"}},
		{"wget", "wget", "10.9.0.2 asks /wget", []string{"-qO-", "http://four.test/wget"}},
		{"python, in crowds", "python3", "8 True\n200\nConnectionRefusedError", []string{"-c", pythonCrowd}},
		{"python, names", "python3", "10.9.0.1 www.test\n('10.9.0.1', 7) 10.9.0.2\nb'x' True\nudp 13\nTrue 127.0.0.1 0.0.0.0", []string{"-c", pythonNames}},
		{"node", "node", "10.9.0.2 asks /node\nECONNREFUSED", []string{"-e", nodeFetch}},
		{"perl", "perl", "10.9.0.2 asks /perl", []string{"-e", perlFetch}},
		{"a shell's redirection", "bash", "hello", []string{"-c", "exec 3<>/dev/tcp/10.9.0.1/7; echo hello >&3; read line <&3; echo $line"}},
		{"a program that a program starts", "sh", "10.9.0.2 asks /child", []string{"-c", "env sh -c 'curl -sS http://four.test/child'"}},
		{"a program without its environment", "sh", "curl: (7) ", []string{"-c", "env -i curl -sS http://10.9.0.1/lost; true"}},
		{"one that has lost the library on the way", "sh", "curl: (6) ", []string{"-c", "LD_PRELOAD= sh -c 'curl -sS http://four.test/lost; true'"}},
		{"git", "sh", "fatal: http://four.test/none/info/refs not valid", []string{"-c", "git ls-remote http://four.test/none/; true"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			got := r.runTool(t, tt.program, tt.args...)
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("java", func(t *testing.T) {
		r := newRig(t)
		source := filepath.Join(filepath.Dir(r.shim), "Fetch.java")
		if err := os.WriteFile(source, []byte(javaFetch), 0o644); err != nil {
			t.Fatal(err)
		}
		wantOutput(t, "java", r.runTool(t, "java", source), "10.9.0.2 asks /java\nfd09:0:0:0:0:0:0:1\nConnection refused")
	})
}
