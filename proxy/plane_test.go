package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/telemetry"
)

// What only the embedded plane does (it streams uploads and undoes compression) is tested here, apart from the transcripts.

const planePolicy = `version: 1
providers:
  one: {dialect: openai, base_url: http://one.test:9000/v1}
  two: {dialect: openai, base_url: http://two.test:9000/v1}
models:
  a: {provider: one, name: a-up}
  b: {provider: two, name: b-up}
tiers: [{name: t, models: [a, b]}]
routes:
  auto: {rules: [{use: t}], attempts: {per_model: 1}}
`

// through plays one request through the embedded plane; the upstreams answer by host.
func through(t *testing.T, request string, answers map[string]string) (a testkit.Answer, r *telemetry.Record, seen []testkit.Seen) {
	t.Helper()
	w := newWorld(t, []byte(planePolicy), 0)
	ups := testkit.NewUpstreams(w.net)
	ups.Serve(func(s *testkit.Seen) string { return answers[s.Host] }, "one.test:9000", "two.test:9000")
	plane := openEmbedded(w)
	req, err := testkit.ParseRequest([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	a = plane.ask(req)
	r = w.settled(1)[0]
	plane.close()
	w.net.Close()
	ups.Wait()
	for _, broken := range append(testkit.Broken(&a, r), ups.Faults()...) {
		t.Error(broken)
	}
	return a, r, ups.Seen()
}

const okAnswer = "HTTP/1.1 200 OK\nContent-Type: application/json\n\n{\"text\":\"hello\"}\n"

// upload is a form whose parts are written one after the other, with steps of a script between them.
func upload(parts ...string) string {
	return "POST /v1/audio/transcriptions\nContent-Type: multipart/form-data; boundary=XX\nTransfer-Encoding: chunked\n\n" + chunked(parts...)
}

// chunked writes steps whose bytes are framed as chunks; a part that begins with ! is a step of its own.
func chunked(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if strings.HasPrefix(p, "!") {
			b.WriteString(p + "\n")
			continue
		}
		fmt.Fprintf(&b, "!bytes %s\n", strconv.Quote(fmt.Sprintf("%x\r\n%s\r\n", len(p), p)))
	}
	b.WriteString("!bytes \"0\\r\\n\\r\\n\"\n")
	return b.String()
}

const (
	modelPart = "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nauto\r\n"
	filePart  = "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"
	emptyPart = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
	formEnd   = "\r\n--XX--\r\n"
)

func TestUploadSecondModel(t *testing.T) {
	for _, c := range []struct{ name, request string }{
		{"at once", upload(modelPart + modelPart + formEnd)},
		{"behind a part without content", upload(modelPart + emptyPart + modelPart + formEnd)},
		{"never ended", upload(modelPart+filePart+"data", "!delay 3s", "\r\n"+modelPart)},
		{"while it streams", upload(modelPart+filePart+"data", "!delay 3s", "\r\n"+modelPart+formEnd)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r, seen := through(t, c.request, map[string]string{"one.test:9000": okAnswer})
				if a.Status != 400 || !bytes.Contains(a.Body, []byte("more than one `model`")) {
					t.Errorf("answer %s", a.String())
				}
				if r.Outcome != "client_error" {
					t.Errorf("outcome %s", r.Outcome)
				}
				for _, s := range seen {
					if !s.Broken {
						t.Errorf("an upstream took the form for a whole one: %q", s.Body)
					}
				}
			})
		})
	}
}

// A file of 3 MB before the model: what was read goes through the spool on disk and arrives whole.
func TestUploadSpooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := strings.Repeat("0123456789abcdef", 3<<16)
		a, r, seen := through(t, upload(filePart+file+"\r\n", modelPart, formEnd[2:]), map[string]string{"one.test:9000": okAnswer})
		if a.Status != 200 || r.Model != "a" || len(seen) != 1 {
			t.Fatalf("answer %s, model %q, %d upstream requests", a.String(), r.Model, len(seen))
		}
		want := filePart + file + "\r\n" + strings.Replace(modelPart, "auto", "a-up", 1) + formEnd[2:]
		if string(seen[0].Body) != want {
			t.Errorf("%d bytes arrived, want %d", len(seen[0].Body), len(want))
		}
	})
}

func TestUploadTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := strings.Replace(planePolicy, "routes:", "server: {upload_limit: 1k}\nroutes:", 1)
		w := newWorld(t, []byte(policy), 0)
		ups := testkit.NewUpstreams(w.net)
		ups.Serve(func(*testkit.Seen) string { return okAnswer }, "one.test:9000")
		plane := openEmbedded(w)
		req, err := testkit.ParseRequest([]byte(upload(modelPart+filePart, "!delay 1s", strings.Repeat("x", 2000), formEnd)))
		if err != nil {
			t.Fatal(err)
		}
		a := plane.ask(req)
		w.settled(1)
		plane.close()
		w.net.Close()
		ups.Wait()
		if a.Status != 413 {
			t.Errorf("answer %s", a.String())
		}
		for _, s := range ups.Seen() {
			if !s.Broken {
				t.Error("an upstream took the form for a whole one")
			}
		}
	})
}

// compressed writes an answer whose body is compressed though nobody asked for it.
func compressed(contentType, body string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(body))
	_ = z.Close()
	return "HTTP/1.1 200 OK\nContent-Type: " + contentType + "\nContent-Encoding: gzip\n\n!bytes " + strconv.Quote(b.String()) + "\n"
}

func TestCompressedAnswers(t *testing.T) {
	const chat = `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}`
	const stream = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}` + "\n\n" + `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	ask := func(path, extra string) string {
		return "POST " + path + "\nContent-Type: application/json\nAccept-Encoding: gzip\n\n{\"model\":\"auto\"," + extra + "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n"
	}
	bomb := compressed("application/json", `{"x":"`+strings.Repeat("a", 8<<20)+`"}`)
	for _, c := range []struct {
		name, request, answer, want, model string
	}{
		{"chat", ask("/v1/chat/completions", ""), compressed("application/json", chat), chat, "a"},
		{"stream", ask("/v1/chat/completions", `"stream":true,`), compressed("text/event-stream", stream), stream, "a"},
		{"opaque", ask("/v1/responses", ""), compressed("application/json", `{"id":"r"}`), `{"id":"r"}`, "a"},
		{"unknown coding moves on", ask("/v1/chat/completions", ""), "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Encoding: rot13\n\nuryyb\n", chat + "\n", "b"},
		{"not what it says moves on", ask("/v1/chat/completions", ""), "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Encoding: gzip\n\nplain\n", chat + "\n", "b"},
		{"a bomb moves on", ask("/v1/chat/completions", ""), bomb, chat + "\n", "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r, _ := through(t, c.request, map[string]string{"one.test:9000": c.answer, "two.test:9000": "HTTP/1.1 200 OK\nContent-Type: application/json\n\n" + chat + "\n"})
				if a.Status != 200 || a.End != "" || string(a.Body) != c.want || r.Model != c.model {
					t.Errorf("by %q: %s", r.Model, a.String())
				}
				if a.Header.Get("Content-Encoding") != "" {
					t.Error("the client is told of a compression that was undone")
				}
			})
		})
	}
}

// What the head alone decides is answered before the body is read, and a body that is too large is not read to its end.
func TestAnsweredBeforeTheBody(t *testing.T) {
	keys := strings.Replace(planePolicy, "routes:", "server: {auth: required}\nauth: {pepper: {env: SLUICE_PEPPER}}\ntenants: {acme: {keys: [{id: web, hash: \""+webHash+"\"}]}}\nroutes:", 1)
	const json = "Content-Type: application/json\n"
	bearer := json + "Authorization: Bearer " + webKey + "\n"
	late := "Content-Length: 100\n\n!delay 1h\n{}\n"
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"no key", "POST /v1/chat/completions\n" + json + late, 401},
		{"no path", "POST /nowhere\n" + bearer + late, 404},
		{"wrong method", "PUT /v1/chat/completions\n" + bearer + late, 405},
		{"announced length", "POST /v1/chat/completions\n" + bearer + "Content-Length: 34603008\n\n!delay 1h\n{}\n", 413},
		{"33 MB in chunks", "POST /v1/chat/completions\n" + bearer + "Transfer-Encoding: chunked\n\n!bytes \"2100000\\r\\n\"\n!repeat 34603008 x\n!delay 1h\n", 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, []byte(keys), 0)
				plane := openEmbedded(w)
				req, err := testkit.ParseRequest([]byte(c.request))
				if err != nil {
					t.Fatal(err)
				}
				a := plane.ask(req)
				w.settled(1)
				plane.close()
				w.net.Close()
				if a.Status != c.status || a.Took != 0 || !bytes.Contains(a.Body, []byte(`"type":"invalid_request_error"`)) {
					t.Errorf("after %v: %s", a.Took, a.String())
				}
			})
		})
	}
}
