package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// certificate is the listener's certificate, read again when its files change.
type certificate struct {
	cert, key string // files
	value     atomic.Pointer[tls.Certificate]

	mu  sync.Mutex // of refresh
	pem [2][]byte  // what value was made of
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
	c.mu.Lock()
	defer c.mu.Unlock()
	cert, err := os.ReadFile(c.cert)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	key, err := os.ReadFile(c.key)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	if c.value.Load() != nil && bytes.Equal(c.pem[0], cert) && bytes.Equal(c.pem[1], key) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	c.value.Store(&pair)
	c.pem = [2][]byte{cert, key}
	return true, nil
}
