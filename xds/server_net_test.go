package xds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/leak"
)

// serve runs a server on listeners until the test ends.
func serve(t *testing.T, s *Server, on ...net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, on...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func dial(t *testing.T, target string, creds credentials.TransportCredentials) *grpc.ClientConn {
	c, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// follow plays a fake Envoy over a real connection until it has what is wanted.
func follow(t *testing.T, c *grpc.ClientConn, e *fakeEnvoy, want set) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	str, err := discovery.NewAggregatedDiscoveryServiceClient(c).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	for out := []*discovery.DeltaDiscoveryRequest{e.hello()}; e.text() != want; {
		for _, r := range out {
			if err := str.Send(r); err != nil {
				break // Recv says why
			}
		}
		a, err := str.Recv()
		if err != nil {
			return err
		}
		out = e.receive(a)
	}
	return nil
}

// panicky is an access-log service whose every stream panics.
type panicky struct {
	accesslog.UnimplementedAccessLogServiceServer
}

func (panicky) StreamAccessLogs(accesslog.AccessLogService_StreamAccessLogsServer) error {
	panic("a bug")
}

func TestServeOnSocketAndTLS(t *testing.T) {
	defer leak.None(t)()
	t.Run("all", func(t *testing.T) { // cleanups run before the leak check
		dir := t.TempDir()
		socket := filepath.Join(dir, "control.sock")
		local, err := envoy.ListenSocket(socket)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("socket: %v %v", info.Mode(), err)
		}
		ca := newAuthority(t, dir)
		ca.issue(t, "server", time.Hour)
		remote, err := envoy.ListenTLS("127.0.0.1:0", filepath.Join(dir, "ca.pem"), filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
		if err != nil {
			t.Fatal(err)
		}
		s := quiet(Options{Register: func(r grpc.ServiceRegistrar) { accesslog.RegisterAccessLogServiceServer(r, panicky{}) }})
		serve(t, s, local, remote)
		put(t, s, 1, one)

		c := dial(t, "unix:"+socket, insecure.NewCredentials())
		if err := follow(t, c, newEnvoy("local"), one); err != nil {
			t.Errorf("over the socket: %v", err)
		}
		old := newEnvoy("old")
		old.patch = 0
		who := old.hello()
		who.Node.GetUserAgentBuildVersion().Version.MinorNumber = 12
		str, err := discovery.NewAggregatedDiscoveryServiceClient(c).DeltaAggregatedResources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := str.Send(who); err != nil {
			t.Fatal(err)
		}
		if _, err := str.Recv(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "1.12.0") {
			t.Errorf("an old Envoy: %v", err)
		}
		logs, err := accesslog.NewAccessLogServiceClient(c).StreamAccessLogs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := logs.CloseAndRecv(); status.Code(err) != codes.Internal || s.Panics() != 1 {
			t.Errorf("a panic: %v, counted %d", err, s.Panics())
		}

		mutual := credentials.NewTLS(&tls.Config{RootCAs: ca.pool, ServerName: "server", Certificates: []tls.Certificate{ca.issue(t, "edge", time.Hour)}})
		if err := follow(t, dial(t, remote.Addr().String(), mutual), newEnvoy("remote"), one); err != nil {
			t.Errorf("over TLS: %v", err)
		}
		stranger := newAuthority(t, t.TempDir())
		for name, config := range map[string]*tls.Config{
			"no certificate":         {RootCAs: ca.pool, ServerName: "server"},
			"another authority's":    {RootCAs: ca.pool, ServerName: "server", Certificates: []tls.Certificate{stranger.issue(t, "edge", time.Hour)}},
			"an expired certificate": {RootCAs: ca.pool, ServerName: "server", Certificates: []tls.Certificate{ca.issue(t, "late", -time.Minute)}},
		} {
			if err := follow(t, dial(t, remote.Addr().String(), credentials.NewTLS(config)), newEnvoy(name), one); err == nil {
				t.Errorf("%s: served", name)
			}
		}
		if err := follow(t, dial(t, remote.Addr().String(), insecure.NewCredentials()), newEnvoy("plain"), one); err == nil {
			t.Error("plain text on the TLS port: served")
		}
	})
}

func TestListenSocketReplacesOnlyTheDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := envoy.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := envoy.ListenSocket(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a living socket: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	l, err = envoy.ListenSocket(path)
	if err != nil {
		t.Fatalf("a dead socket: %v", err)
	}
	_ = l.Close()
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := envoy.ListenSocket(path); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}

func TestListenTLSFailsEarly(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	ca.issue(t, "server", time.Hour)
	file := func(name string) string { return filepath.Join(dir, name) }
	for name, files := range map[string][3]string{
		"no CA":        {file("none"), file("server.pem"), file("server.key")},
		"empty CA":     {file("server.key"), file("server.pem"), file("server.key")},
		"no key":       {file("ca.pem"), file("server.pem"), file("none")},
		"key of other": {file("ca.pem"), file("ca.pem"), file("server.key")},
	} {
		if l, err := envoy.ListenTLS("127.0.0.1:0", files[0], files[1], files[2]); err == nil {
			_ = l.Close()
			t.Errorf("%s: listens", name)
		}
	}
}

// authority is a test CA that writes its files into a folder.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T, dir string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	raw, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{dir: dir, key: key, pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	a.write(t, "ca.pem", "CERTIFICATE", raw)
	return a
}

func (a *authority) issue(t *testing.T, name string, life time.Duration) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(life), DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	raw, err := x509.CreateCertificate(rand.Reader, form, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", "CERTIFICATE", raw)
	a.write(t, name+".key", "EC PRIVATE KEY", der)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
