package launcher

import (
	"errors"
	"net"
	"os"

	"adit/packet"
)

func openPacketSocket(int) (*os.File, error) { return nil, errors.ErrUnsupported }

func newVeth(*os.File, int, net.HardwareAddr, net.HardwareAddr) (packet.Device, error) {
	return nil, errors.ErrUnsupported
}
