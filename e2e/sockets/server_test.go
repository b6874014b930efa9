package sockets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"adit/e2e/lab"
	"adit/e2e/services"

	"golang.org/x/sys/unix"
)

// Ports of the server, as testdata/transcript/say.h has them.
const (
	portEcho        = 7
	portRefuses     = 2000
	portResets      = 2001
	portResetsLater = 2002
	portGreets      = 2003
	portCloses      = 2004
	portCounts      = 2005
	portDeaf        = 2006
	portLate        = 2007
	portUrgent      = 2008
	portEnds        = 2011
	portHowEnded    = 2012
	portTwice       = 2013
	portBurst       = 2015
)

// late is how long what comes late takes.
const late = 300 * time.Millisecond

// serve starts the services in the caller's namespace.
func (w *world) serve() error {
	ends := &endings{last: map[netip.Addr]*ending{}}
	for port, service := range map[int]func(*net.TCPConn){
		portEcho:     func(c *net.TCPConn) { io.Copy(c, c) },
		portResets:   resetSoon,
		portGreets:   greet,
		portCloses:   func(*net.TCPConn) {},
		portCounts:   count,
		portDeaf:     beDeaf,
		portLate:     answerLate,
		portUrgent:   sendUrgent,
		portEnds:     ends.serve,
		portHowEnded: ends.tell,
		portResetsLater: func(c *net.TCPConn) {
			c.Read(make([]byte, 1))
			c.SetLinger(0)
		},
	} {
		if err := serveTCP(port, service); err != nil {
			return err
		}
	}
	for _, c := range w.clients {
		if err := c.serveFull(); err != nil {
			return err
		}
	}
	for _, a := range []netip.Addr{lab.ServiceV4, lab.ServiceV6} {
		if err := serveUDP(a); err != nil {
			return err
		}
	}
	return nil
}

// serveTCP gives each connection to the service, and closes it then.
func serveTCP(port int, service func(*net.TCPConn)) error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); service(c.(*net.TCPConn)) }()
		}
	}()
	return nil
}

// resetSoon gives connect(2) the time to return, also where it has to be told of
// the connection by other processes, on a busy machine.
func resetSoon(c *net.TCPConn) {
	<-time.After(4 * late)
	c.SetLinger(0)
}

func greet(c *net.TCPConn) {
	io.WriteString(c, "hello")
	c.CloseWrite()
	io.Copy(io.Discard, c)
}

func count(c *net.TCPConn) {
	n, _ := io.Copy(io.Discard, c)
	fmt.Fprintf(c, "got %d bytes", n)
}

// beDeaf keeps the connection and takes nothing from it, for as long as a test
// may last.
func beDeaf(c *net.TCPConn) {
	c.SetReadBuffer(8192)
	<-time.After(15 * time.Second)
}

func answerLate(c *net.TCPConn) {
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return
	}
	<-time.After(late)
	io.WriteString(c, "late")
}

func sendUrgent(c *net.TCPConn) {
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return
	}
	io.WriteString(c, "a")
	if raw, err := c.SyscallConn(); err == nil {
		raw.Write(func(fd uintptr) bool {
			unix.Send(int(fd), []byte("!"), unix.MSG_OOB)
			return true
		})
	}
	io.WriteString(c, "b")
	io.Copy(io.Discard, c)
}

// An endings remembers how the last connection of each client ended.
type endings struct {
	mu   sync.Mutex             // guards what follows
	last map[netip.Addr]*ending // by whose it is
}

type ending struct {
	ended chan struct{} // closed when it has; then:
	how   string
}

func clientOf(c net.Conn) netip.Addr { return c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap() }

// serve is an echo that says hello first.
func (e *endings) serve(c *net.TCPConn) {
	end := &ending{ended: make(chan struct{})}
	e.mu.Lock()
	e.last[clientOf(c)] = end
	e.mu.Unlock()
	io.WriteString(c, "hello!")
	end.how = "the end"
	if _, err := io.Copy(c, c); errors.Is(err, syscall.ECONNRESET) {
		end.how = "a reset"
	} else if err != nil {
		end.how = err.Error()
	}
	close(end.ended)
}

// tell waits for the end of the client's last connection, and says how that was.
func (e *endings) tell(c *net.TCPConn) {
	e.mu.Lock()
	end := e.last[clientOf(c)]
	e.mu.Unlock()
	if end == nil {
		io.WriteString(c, "nothing")
		return
	}
	select {
	case <-end.ended:
		io.WriteString(c, end.how)
	case <-time.After(3 * time.Second):
		io.WriteString(c, "no end")
	}
}

// A crowded listener's queue is full, so that the kernel drops what comes, until
// somebody is let in.
type crowded struct {
	listener *net.TCPListener
	server   *lab.Namespace
	port     int
	fillers  []net.Conn
	mu       sync.Mutex // one at a time
}

// queueLen is how many connections wait in the queue when it is full: one more
// than listen(2) was told.
const queueLen = 2

// serveFull starts one, and a gate: when it is told 'o' there, then, in 0.6 s,
// the next connection is let in, and no other. The answer means that it is full.
func (c *client) serveFull() error {
	l, err := listenWithShortQueue(c.fullPort())
	if err != nil {
		return err
	}
	q := &crowded{listener: l, server: c.Server, port: c.fullPort()}
	if err := q.fill(); err != nil {
		return err
	}
	return serveTCP(c.gatePort(), func(gate *net.TCPConn) {
		order := make([]byte, 1)
		gate.Read(order)
		q.mu.Lock()
		if order[0] == 'o' {
			time.AfterFunc(2*late, q.letOneIn)
		} else {
			q.mu.Unlock()
		}
		io.WriteString(gate, "!") // it is full
	})
}

// fill fills the queue; the caller is on the server.
func (c *crowded) fill() error {
	for range queueLen {
		f, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", c.port), 5*time.Second)
		if err != nil {
			return fmt.Errorf("fill the queue: %w", err)
		}
		c.fillers = append(c.fillers, f)
	}
	return nil
}

// letOneIn empties the queue, waits for one connection, and fills the queue
// again. c.mu must be held, and is released.
func (c *crowded) letOneIn() {
	defer c.mu.Unlock()
	c.listener.SetDeadline(time.Now().Add(8 * time.Second))
	for range queueLen {
		if f, err := c.listener.Accept(); err == nil {
			f.Close()
		}
	}
	for _, f := range c.fillers {
		f.Close()
	}
	c.fillers = nil
	let, err := c.listener.Accept()
	if err == nil {
		go func() { defer let.Close(); io.Copy(io.Discard, let) }()
	}
	if err := c.server.Do(c.fill); err != nil {
		panic("BUG: " + err.Error())
	}
}

// listenWithShortQueue returns a listener whose queue holds queueLen connections
// that wait to be accepted. net's own holds thousands.
func listenWithShortQueue(port int) (*net.TCPListener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, err
	}
	var again error
	if err := raw.Control(func(fd uintptr) { again = unix.Listen(int(fd), queueLen-1) }); err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), again
}

// serveUDP starts the services of datagrams at one address: an answer must come
// from where the question went to.
func serveUDP(a netip.Addr) error {
	listen := func(port int) (net.PacketConn, error) {
		var c net.ListenConfig
		return c.ListenPacket(context.Background(), "udp", netip.AddrPortFrom(a, uint16(port)).String())
	}
	echo, err := listen(portEcho)
	if err != nil {
		return err
	}
	go services.EchoUDP(echo)
	first, err := listen(portTwice)
	if err != nil {
		return err
	}
	second, err := listen(portTwice + 1)
	if err != nil {
		return err
	}
	go answerDatagrams(first, func(b []byte, from net.Addr) {
		first.WriteTo([]byte("from the one"), from)
		second.WriteTo([]byte("from the other"), from)
	})
	burst, err := listen(portBurst)
	if err != nil {
		return err
	}
	go answerDatagrams(burst, func(b []byte, from net.Addr) {
		for i := range b[0] {
			burst.WriteTo([]byte{i}, from)
		}
	})
	return nil
}

func answerDatagrams(c net.PacketConn, answer func(b []byte, from net.Addr)) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if n > 0 {
			answer(buf[:n], from)
		}
	}
}
