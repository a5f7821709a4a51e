package testkit

import "net"

// Wire is a connection that can end in every way that a connection of the network can.
type Wire interface {
	net.Conn
	CloseWrite() error
	Reset() // breaks it: the other side reads an error
}

// TCP is a connection of the real network as a Wire.
type TCP struct{ *net.TCPConn }

// Reset breaks the connection.
func (c TCP) Reset() {
	_ = c.SetLinger(0) // so that Close sends RST
	_ = c.Close()
}
