package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// help is adit help [COMMAND].
func (a *adit) help(c *cli.Context) error {
	return a.printHelp(strings.Join(c.Args().Slice(), " "))
}

func (a *adit) printHelp(command string) error {
	text, ok := helpTexts[command]
	if !ok {
		return msgNoHelp.fail(command)
	}
	return a.ui.print(strings.TrimPrefix(text, "\n"))
}

// helpTexts are by command, "" for the program as a whole. Each ends with a
// full example. The whole truth is in docs/adit.1.
var helpTexts = map[string]string{
	"": `
usage: adit COMMAND [OPTIONS]

Sends one command through a WireGuard tunnel, without root.

  run [OPTIONS] [--] CMD [ARG...]   one command in a tunnel of its own
  shell [OPTIONS]                   the same with $SHELL
  check -c FILE                     what a configuration does, keys hidden
  leaktest -c FILE                  tries to get out of the tunnel, many ways
  doctor                            what works on this machine, and what to type
  serve --listen :PORT --peer ...   a gateway, the other end of tunnels, no root
  device NAME [-f]                  an interface for wg and wg-quick; for root
  demo [-- CMD]                     all of it on this machine alone
  genkey, pubkey, genpsk            keys, as wg makes them
  setup apparmor                    let adit make user namespaces on Ubuntu
  completion bash|zsh|fish          a completion script
  version, help [COMMAND]

adit help COMMAND says more, the manual adit(1) says all.

Example: adit run -c wg0.conf -- curl https://example.com
`,
	"run": `
usage: adit run [OPTIONS] [--] CMD [ARG...]

Runs CMD in a WireGuard tunnel of its own. It and its children see the network
of the tunnel and no other. Options end at the first word that is none.

  -c, --config FILE|NAME|-  wg-quick file; NAME.conf in ~/.config/adit or
                            /etc/wireguard; - is standard input. Repeated:
                            tunnels inside each other, the outermost first
  --config-fd N             read it from descriptor N
  --set interface.KEY=VALUE, --set peer[N].KEY=VALUE
                            override one value of the file
  --strict                  an ignored or unknown key is an error
` + tunnelHelp + `  --expose PORT[/tcp|udp]|all
                            let the tunnel reach what CMD listens on (none)
  --as-root                 be uid 0 inside
  --stop-timeout TIME       from TERM to KILL when adit ends the command (10s)
  --pcap inner=F,outer=F    capture packets, in clear and sealed
  --status-fd N             write events as JSON lines to descriptor N
  --no-offload              packets pass the kernel one by one: slow, for
                            kernels that break them
  -v, -vv, -q               say more, everything, only errors
  --log-format text|json    (text)
  --log-file FILE           write the log there

The exit status is the command's own, 128+N when signal N killed it; 124 the
tunnel was not usable in time, 125 adit failed, 126 the command cannot be
executed, or mode preload cannot cover it, 127 it was not found.

Example: adit run -c wg0.conf --dns 10.0.0.1 -- curl https://example.com
`,
	"shell": `
usage: adit shell [OPTIONS]

Runs $SHELL in a WireGuard tunnel of its own. ADIT_ACTIVE is set inside, for
the prompt. The options are those of adit run.

Example: adit shell -c wg0.conf
`,
	"check": `
usage: adit check -c FILE [OPTIONS]

Says on standard error which keys of a configuration are ignored and what else
is odd about it, and prints what is in force, keys hidden.

  -c, --config FILE|NAME|-  wg-quick file; NAME.conf in ~/.config/adit or
                            /etc/wireguard; - is standard input
  --config-fd N             read it from descriptor N
  --set interface.KEY=VALUE, --set peer[N].KEY=VALUE
                            override one value of the file
  --strict                  an ignored or unknown key is an error
` + tunnelHelp + `
Example: adit check -c wg0.conf --strict
`,
	"doctor": `
usage: adit doctor [-c FILE]... [--json]

Tries every mode on this machine and says what works and what that leaves out,
which layer of the system is in the way of the rest, and what to type. The exit
status is 1 if none works, or not the one that the configuration asks for.

  -c, --config FILE|NAME|-  look at this configuration, too; repeated: at each
  --config-fd N, --set ASSIGNMENT, --strict
                            as of adit run
  --json                    print JSON

Example: adit doctor --json
`,
	"leaktest": `
usage: adit leaktest -c FILE [OPTIONS] [--json]

Tries to get out of the tunnel in all the ways that a program has, and to ask a
name past it, and prints a table: what was tried, what should come of it, what
did, and the verdict. Listeners on this machine's addresses watch and, for those
with CAP_NET_RAW, a capture on every interface. It sends nothing beyond this
machine but through the tunnel. The exit status is 0 if nothing leaked, 1 if
something did, 3 if that could not be tested, 125 if an option is bad or there
is no configuration, 128+N when signal N ended it.

  -c, --config FILE|NAME|-  wg-quick file; NAME.conf in ~/.config/adit or
                            /etc/wireguard; - is standard input
  --config-fd N             read it from descriptor N
  --set interface.KEY=VALUE, --set peer[N].KEY=VALUE
                            override one value of the file
  --strict                  an ignored or unknown key is an error
` + tunnelHelp + `  --json                    print JSON

Example: adit leaktest -c wg0.conf
`,
	"serve": `
usage: adit serve [--listen [ADDR]:PORT] [--private-key FILE]
                  [--peer PEER]... [--new-peer NAME]

Is the other end of WireGuard tunnels: accepts peers and lets their traffic
leave by ordinary sockets of this host, without root. Ends on INT and TERM.

  --listen [ADDR]:PORT      where peers reach it (:51820)
  --private-key FILE        its key; made if there is no such file (a new one)
  --peer PUBKEY[,PSKFILE]=ADDR[,ADDR]
                            accept this peer, with these addresses in the tunnel
  --new-peer NAME           make one more peer, print its configuration, accept
                            it; with --private-key, it is remembered beside that
                            in NAME.psk and NAME.peer, and the command that
                            accepts it again is told
  --endpoint HOST:PORT      the gateway's address for that (this host's)
  --mtu N                   (1420)
  --no-offload              datagrams pass the kernel one by one: slow, for
                            kernels that break them
  -v, -vv, -q               say more, everything, only errors
  --log-format text|json    (text)
  --log-file FILE           write the log there

Example: (umask 077; adit serve --private-key gw.key --new-peer pc > pc.conf)
`,
	"device": `
usage: adit device NAME [-f] [--no-offload]

Is a WireGuard interface for this machine: makes the TUN device NAME, which wg
and wg-quick configure as they do the kernel's. By nature it needs root's
CAP_NET_ADMIN. Goes to the background once all works. Ends on INT and TERM,
when the interface is deleted or /var/run/wireguard/NAME.sock is removed.

  -f, --foreground          stay in the foreground
  --no-offload              packets pass the kernel one by one: slow, for
                            kernels that break them

As wireguard-go, it obeys LOG_LEVEL=verbose|error|silent, WG_TUN_FD, WG_UAPI_FD
and WG_PROCESS_FOREGROUND=1. Called wireguard-adit, adit is this command,
which wg-quick takes where the kernel has no WireGuard of its own:
WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-adit wg-quick up wg0

Example: sudo adit device wg0 && sudo wg set wg0 private-key key
`,
	"demo": `
usage: adit demo [--] [CMD [ARG...]]

Starts a gateway and a tunnel to it over loopback, and runs one command through
it: a fetch of a page that is beyond the gateway and nowhere else, or CMD. Tells
what happens.

Example: adit demo -- curl http://198.51.100.7/
`,
	"genkey": `
usage: adit genkey

Prints a new private key.

Example: (umask 077; adit genkey > key; adit pubkey < key)
`,
	"pubkey": `
usage: adit pubkey

Reads a private key from standard input and prints its public key.

Example: adit pubkey < key
`,
	"genpsk": `
usage: adit genpsk

Prints a new preshared key.

Example: (umask 077; adit genpsk > psk)
`,
	"setup": `
usage: adit setup apparmor --print|--install

Prepares this machine.

Example: adit setup apparmor --print | sudo sh
`,
	"setup apparmor": `
usage: adit setup apparmor --print|--install

Lets this binary, and no other, make user namespaces where AppArmor restricts
them, as on Ubuntu 23.10 and later. The profile names the binary by its path.

  --print    print a shell script for root that installs the profile
  --install  install it; only for root

Example: adit setup apparmor --print | sudo sh
`,
	"completion": `
usage: adit completion bash|zsh|fish

Prints a completion script.

Example: adit completion bash > ~/.local/share/bash-completion/completions/adit
`,
	"version": `
usage: adit version [--json]

Prints the version.

Example: adit version --json
`,
	"help": `
usage: adit help [COMMAND]

Prints help.

Example: adit help run
`,
}

// tunnelHelp is common to the commands that take tunnelFlags.
const tunnelHelp = `  --mode auto|namespace|seccomp|preload
                            how the traffic is caught (auto: the strongest
                            that works here, see adit doctor)
  --dns IP[,IP...]|host|off nameservers asked through the tunnel; host: the
                            host's, outside of it (the file's DNS=)
  --dns-search DOMAIN       (the file's)
  --mtu N                   (the file's, else from the path)
  -4, -6                    one family only inside the tunnel
  --wait handshake|tcp:HOST:PORT|none
                            when the command may start (handshake)
  --wait-timeout TIME       how long to wait for that (15s)
`
