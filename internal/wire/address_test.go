package wire

import (
	"net/url"
	"testing"
)

func TestEndpoint(t *testing.T) {
	for raw, want := range map[string]string{
		"http://10.0.0.1:8000/v1": "10.0.0.1:8000", "http://10.0.0.1": "10.0.0.1:80", "https://10.0.0.1": "10.0.0.1:443",
		"http://[FD00:0::1]:8000": "[fd00::1]:8000", "http://[::ffff:10.0.0.1]:1": "10.0.0.1:1", "http://gpu:8000": "", "grpcs://[::1]": "[::1]:443",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := Endpoint(u); got != want {
			t.Errorf("Endpoint(%s) = %q, want %q", raw, got, want)
		}
	}
}
