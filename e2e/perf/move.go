package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"adit/e2e/lab"
	"adit/e2e/peer"
)

// moved returns how long it takes from change until a ping that was sent
// afterwards is answered, in milliseconds. Pings go on all the time.
func (w *world) moved(s *session, change func() error) (figures, error) {
	type result struct {
		a   answer
		err error
	}
	done := make(chan result, 1)
	go func() {
		a, err := s.tell(order{Do: "ping", Address: lab.ServiceV4.String(), Seconds: moveSeconds, Rate: 2 * pingRate})
		done <- result{a, err}
	}()
	time.Sleep(time.Second)
	begin := monotonic()
	err := change()
	end := monotonic()
	r := <-done
	if err := errors.Join(err, r.err); err != nil {
		return nil, err
	}
	for i, heard := range r.a.At {
		if sent := heard - int64(r.a.Micros[i]*1e3); sent >= end {
			return figures{"ms": float64(heard-begin) / 1e6}, nil
		}
	}
	return nil, fmt.Errorf("no traffic within %v s", moveSeconds-1)
}

const moveSeconds = 3.5

// moveOwn changes the host's address.
func (w *world) moveOwn(side string) (figures, error) {
	s, err := w.tunnel(side, terms{})
	if err != nil {
		return nil, err
	}
	defer s.close()
	to := netip.MustParsePrefix("10.77.0.99/24")
	defer lab.Readdress(to, lab.HostV4)
	return w.moved(s, func() error { return lab.Readdress(lab.HostV4, to) })
}

// movePeer changes the far end's port. It has something to say all the time:
// a peer that has moved is found by what it sends.
func (w *world) movePeer(side string) (figures, error) {
	s, err := w.tunnel(side, terms{})
	if err != nil {
		return nil, err
	}
	defer s.close()
	_, hush, err := w.speak(s)
	if err != nil {
		return nil, err
	}
	defer hush()
	return w.moved(s, func() error { return w.far.(*peer.Peer).Set("listen_port=51999") })
}

// moveSilent changes the host's address while only the far end speaks: nothing
// but the tunnel itself can tell it where we are.
func (w *world) moveSilent(side string) (figures, error) {
	s, err := w.tunnel(side, terms{})
	if err != nil {
		return nil, err
	}
	defer s.close()
	heard, hush, err := w.speak(s)
	if err != nil {
		return nil, err
	}
	defer hush()
	time.Sleep(time.Second)
	to := netip.MustParsePrefix("10.77.0.99/24")
	defer lab.Readdress(to, lab.HostV4)
	begin := monotonic()
	if err := lab.Readdress(lab.HostV4, to); err != nil {
		return nil, err
	}
	before := heard.n.Load()
	for heard.n.Load() == before {
		if time.Sleep(100 * time.Microsecond); monotonic()-begin > 30e9 {
			return nil, errors.New("no traffic within 30 s")
		}
	}
	return figures{"ms": float64(monotonic()-begin) / 1e6}, nil
}

// speak has the far end send datagrams to the agent, which only counts them, until
// hush is called.
func (w *world) speak(s *session) (heard *counter, hush func(), err error) {
	var sender *net.UDPConn
	err = w.lab.Server.Do(func() (err error) {
		sender, err = listenDatagrams(netip.AddrPortFrom(lab.ServiceV4, udpPort), false)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	o := order{Do: "receive", Address: sender.LocalAddr().String(), Size: 64, Counter: w.lab.Dir + "/counter"}
	heard, err = openCounter(o.Counter) // the agent could not make it
	if err != nil {
		sender.Close()
		return nil, nil, err
	}
	hush = func() { sender.Close(); heard.close() }
	var to netip.AddrPort
	if _, err = s.tell(o); err == nil {
		sender.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, to, err = sender.ReadFromUDPAddrPort(make([]byte, 16))
	}
	if err != nil {
		hush()
		return nil, nil, err
	}
	go func() {
		for {
			if _, err := sender.WriteToUDPAddrPort(make([]byte, o.Size), to); errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(time.Second / pingRate)
		}
	}()
	return heard, hush, nil
}

func moveTrials() []trial {
	gates := []gate{{side: adit, figure: "ms", must: 2000, aim: 10}}
	sides := []string{adit, wireguardGo}
	return []trial{
		{
			name: "move-own", about: "our address changes: until a ping is answered again", sides: sides, against: wireguardGo,
			measure: (*world).moveOwn, gates: gates,
		},
		{
			name: "move-silent", about: "our address changes while only the far end speaks: until it is heard again; wireguard-go has nothing to say", sides: []string{adit}, measure: (*world).moveSilent, gates: gates,
		},
		{
			name: "move-peer", about: "the peer's port changes, which sends all the time: until a ping is answered again", sides: sides, against: wireguardGo,
			measure: (*world).movePeer, gates: gates,
		},
	}
}
