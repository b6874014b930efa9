package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"adit/e2e/lab"
)

// A transaction is a connection for 100 bytes one way and 1 KiB back.
const (
	pumpAsk  = 'A' // the first of the question's bytes
	question = 100
	reply    = 1024
	askers   = 16 // at once
)

// answerOne is the service's side. It closes first, so that the connection's
// afterlife (TIME_WAIT) is not the client's, who would run out of ports.
func answerOne(c net.Conn) {
	if _, err := io.ReadFull(c, make([]byte, question-1)); err == nil {
		c.Write(make([]byte, reply))
	}
}

// doTransactions repeats transactions, o.Flows at once.
func doTransactions(o order) (answer, error) {
	var done atomic.Int64
	var mu sync.Mutex // guards failure
	var failure error
	var wg sync.WaitGroup
	begin := time.Now()
	end := begin.Add(time.Duration(o.Seconds * float64(time.Second)))
	for range o.Flows {
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := ask(o.Address); err != nil {
					mu.Lock()
					failure = errors.Join(failure, err)
					mu.Unlock()
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return answer{Count: float64(done.Load()), Seconds: time.Since(begin).Seconds()}, failure
}

func ask(address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, question)
	b[0] = pumpAsk
	if _, err := c.Write(b); err != nil {
		return err
	}
	b, err = io.ReadAll(c)
	if err == nil && len(b) != reply {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func transactionTrials() []trial {
	return []trial{{
		name: "transactions", about: "TCP: connect, 100 B, 1 KiB back, close; 16 at once", sides: contenders, against: wireguardGo,
		measure: func(w *world, side string) (figures, error) {
			s, err := w.tunnel(side, terms{})
			if err != nil {
				return nil, err
			}
			defer s.close()
			before, err := s.usage()
			if err != nil {
				return nil, err
			}
			a, err := s.tell(order{Do: "transactions", Address: pumpAddress(lab.ServiceV4), Flows: askers, Seconds: w.seconds})
			if err != nil {
				return nil, err
			}
			after, err := s.usage()
			if err != nil {
				return nil, err
			}
			return figures{
				"tps": a.Count / a.Seconds, "us_transaction": after.since(before).cpu() * 1e6 / a.Count,
				"rss": peakOf(s.main), "rss_all": s.peak.mb(),
			}, nil
		},
	}}
}
