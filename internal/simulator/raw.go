package simulator

import (
	"fmt"
	"net"
	"time"
)

// raw takes the connection from the HTTP server, so that bytes can be said which the server would not say. It fails on HTTP/2, which has no such
// bytes.
func (x *exchange) raw(status int) (net.Conn, error) {
	conn, _, err := x.rc.Hijack()
	if err != nil {
		return nil, errCut
	}
	x.call.note(func(c *Call) { c.Status = status })
	return conn, nil
}

// dribble says a head byte by byte and never comes to its end before a client's patience does.
func (x *exchange) dribble() error {
	conn, err := x.raw(0)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nServer: sluice-simulator\r\nX-Padding: slowly\r\n") {
		if _, err := conn.Write([]byte{b}); err != nil {
			return errGone
		}
		if gone(conn, x.fault.dribble) {
			return errGone
		}
	}
	return errCut
}

// tooMuch says a JSON answer whose length is announced as half of what it is.
func (x *exchange) tooMuch(body []byte) error {
	conn, err := x.raw(200)
	if err != nil {
		return err
	}
	defer conn.Close()
	x.call.end(Completed)
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body)/2, body); err != nil {
		return errGone
	}
	return errEnded
}

// gone lets d pass and reports whether the other side closed the connection meanwhile: a connection that was taken from its server tells nobody else.
func gone(conn net.Conn, d time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(d))
	_, err := conn.Read(make([]byte, 1))
	e, ok := err.(net.Error)
	return err != nil && !(ok && e.Timeout())
}
