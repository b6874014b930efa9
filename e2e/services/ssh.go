package services

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os/exec"

	"golang.org/x/crypto/ssh"
)

// An SSH is an ssh server that lets one key in, whoever it says it is, and
// runs its commands with sh, in Dir.
type SSH struct {
	ClientKey string // the private key of the client, in OpenSSH's format
	HostKey   string // a line of the server's public key, without a host
	Dir       string
	Env       []string
	config    *ssh.ServerConfig
}

// NewSSH makes the keys.
func NewSSH(dir string, env []string) (*SSH, error) {
	clientPublic, clientPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(clientPrivate, "e2e")
	if err != nil {
		return nil, err
	}
	want, err := ssh.NewPublicKey(clientPublic)
	if err != nil {
		return nil, err
	}
	_, hostPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(hostPrivate)
	if err != nil {
		return nil, err
	}
	s := &SSH{
		ClientKey: string(pem.EncodeToMemory(block)),
		HostKey:   string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
		Dir:       dir, Env: env,
	}
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) != string(want.Marshal()) {
				return nil, errors.New("unknown key")
			}
			return nil, nil
		},
	}
	s.config.AddHostKey(signer)
	return s, nil
}

// Serve takes connections until l is closed.
func (s *SSH) Serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go s.serveConn(c)
	}
}

func (s *SSH) serveConn(c net.Conn) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for n := range channels {
		if n.ChannelType() != "session" {
			n.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		ch, requests, err := n.Accept()
		if err != nil {
			return
		}
		go s.serveSession(ch, requests, c.RemoteAddr())
	}
}

// serveSession runs one command (RFC 4254 §6.5) and answers "env" with a no.
func (s *SSH) serveSession(ch ssh.Channel, requests <-chan *ssh.Request, from net.Addr) {
	defer ch.Close()
	for r := range requests {
		if r.Type != "exec" {
			r.Reply(r.Type == "env", nil)
			continue
		}
		var command struct{ Text string }
		if err := ssh.Unmarshal(r.Payload, &command); err != nil {
			r.Reply(false, nil)
			return
		}
		r.Reply(true, nil)
		status := struct{ Code uint32 }{s.run(ch, command.Text, from)}
		ch.SendRequest("exit-status", false, ssh.Marshal(status))
		return
	}
}

func (s *SSH) run(ch ssh.Channel, command string, from net.Addr) uint32 {
	host, _, _ := net.SplitHostPort(from.String())
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Dir = s.Dir
	cmd.Env = append([]string{"SSH_CLIENT_ADDRESS=" + host}, s.Env...)
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil {
		return 255
	}
	if err := cmd.Start(); err != nil {
		return 255
	}
	go func() { // ends with the channel
		io.Copy(in, ch)
		in.Close()
	}()
	if err := cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			return uint32(exit.ExitCode())
		}
		return 255
	}
	return 0
}
