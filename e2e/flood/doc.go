// Package flood sends the lab's WireGuard responders more than they asked for:
// handshake messages by somebody who knows the responder's public key and
// nothing else, and garbage by somebody who does not even know that.
//
//	flood.go    at which rate, from where, for how long
//	message.go  what
//
// A flood ends by itself. It is for the cables of the lab: the addresses that it
// sends from and to exist nowhere else.
package flood
