package config

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Print writes the effective configuration as a wg-quick file with its secrets
// hidden.
func (c *Config) Print(w io.Writer) error { return c.render(w, false) }

// render writes c so that, with secrets, Parse gives c again.
func (c *Config) render(w io.Writer, secrets bool) error {
	b := bufio.NewWriter(w)
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s = %s\n", key, value)
		}
	}
	secret := func(key, value string) {
		if !secrets {
			value = "(hidden)"
		}
		line(key, value)
	}

	fmt.Fprintln(b, inInterface)
	secret("PrivateKey", c.PrivateKey.Base64())
	line("ListenPort", number(int(c.ListenPort)))
	line("Address", join(c.Addresses))
	line("DNS", joinNonEmpty(join(c.DNS), strings.Join(c.DNSSearch, ", ")))
	line("MTU", number(c.MTU))
	c.renderOptions(line)
	for _, p := range c.Peers {
		fmt.Fprintf(b, "\n%s\n", inPeer)
		line("PublicKey", p.PublicKey.String())
		if !p.PresharedKey.IsZero() {
			secret("PresharedKey", p.PresharedKey.Base64())
		}
		line("AllowedIPs", join(p.AllowedIPs))
		line("Endpoint", p.Endpoint.String())
		line("PersistentKeepalive", number(int(p.Keepalive.Seconds())))
	}
	return b.Flush()
}

// renderOptions writes the options that are not as they are by default. What
// a file may not say is a plain comment.
func (c *Config) renderOptions(line func(key, value string)) {
	o := c.Options
	line("#adit: mode", o.Mode)
	if o.DNSMode != DNSFile {
		line("# --dns", o.DNSMode.String())
	}
	if o.Wait.Kind != WaitHandshake {
		line("#adit: wait", o.Wait.String())
	}
	if o.WaitTimeout != 0 {
		line("#adit: wait-timeout", o.WaitTimeout.String())
	}
	if o.IPv4Only {
		line("#adit: 4", "yes")
	}
	if o.IPv6Only {
		line("#adit: 6", "yes")
	}
}

// String returns host:port, with an IPv6 address in brackets; "" if e is zero.
func (e Endpoint) String() string {
	if e == (Endpoint{}) {
		return ""
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// number returns the decimal of n, "" for 0, which stands for "not given".
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func join[T netip.Addr | netip.Prefix](list []T) string {
	var words []string
	for _, v := range list {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ", ")
}

func joinNonEmpty(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}
