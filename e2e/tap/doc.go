// Package tap is an eavesdropper on a cable of the lab: it keeps every packet
// that one interface sends or receives, with the time, and reads of WireGuard's
// messages what anybody can.
//
//	tap.go     capturing, from Open to Stop
//	packet.go  the outer headers
//	message.go the four messages, as far as they are in clear
//	session.go which data belongs to which handshake
//
// It knows no key.
package tap
