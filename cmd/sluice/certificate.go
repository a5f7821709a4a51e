package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"sync/atomic"
)

// certificate is the listener's certificate, read again when its files change. refresh is for one goroutine at a time.
type certificate struct {
	cert, key string // files
	pem       atomic.Pointer[[2][]byte]
	value     atomic.Pointer[tls.Certificate]
}

func newCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key}
	if _, err := c.refresh(); err != nil {
		return nil, err
	}
	return c, nil
}

// current serves tls.Config.GetCertificate.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.value.Load(), nil
}

// refresh reads the files. What cannot be used, as when only one of the two has been replaced yet, leaves the certificate as it is.
func (c *certificate) refresh() (changed bool, err error) {
	cert, err := os.ReadFile(c.cert)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	key, err := os.ReadFile(c.key)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	if old := c.pem.Load(); old != nil && bytes.Equal(old[0], cert) && bytes.Equal(old[1], key) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	c.value.Store(&pair)
	c.pem.Store(&[2][]byte{cert, key})
	return true, nil
}
