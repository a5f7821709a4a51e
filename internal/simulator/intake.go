package simulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"mime"
	"mime/multipart"
)

// maxJSON bounds a body that must be held whole; opaque bodies and uploads are counted and hashed as they pass.
const maxJSON = 64 << 20

// intake is what was read of a request's body.
type intake struct {
	size     int64
	sha256   string
	body     []byte // whole for JSON; else only what the log keeps
	form     bool
	fields   map[string]string // of a form
	files    []upload          // of a form, in order
	model    string            // of the JSON or the form; "" when absent
	stream   bool
	jsonFail error // why the body is no JSON object
}

// upload is one file of a form.
type upload struct {
	Field string `json:"field"`
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// meter counts, hashes and keeps the beginning of what is read through it.
type meter struct {
	r    io.Reader
	n    int64
	sum  hash.Hash
	keep int
	kept []byte
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.sum.Write(p[:n])
	if room := m.keep - len(m.kept); room > 0 {
		m.kept = append(m.kept, p[:min(n, room)]...)
	}
	return n, err
}

// read takes the whole body, so that net/http watches for the client's leave from here on, and notes it in the log.
func (x *exchange) read() error {
	mediaType, params, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil {
		mediaType = ""
	}
	m := &meter{r: x.r.Body, sum: sha256.New(), keep: keptBody}
	if mediaType == "application/json" || generates[x.path] {
		m.keep = maxJSON
	}
	var formErr error
	if mediaType == "multipart/form-data" {
		x.in.form = true
		formErr = x.readForm(multipart.NewReader(m, params["boundary"]))
	}
	_, readErr := io.Copy(io.Discard, m)
	x.in.size, x.in.body, x.in.sha256 = m.n, m.kept, hex.EncodeToString(m.sum.Sum(nil))
	if !x.in.form && readErr == nil {
		x.scan()
	}
	x.call.note(func(c *Call) {
		c.Size, c.Body = x.in.size, bytes.Clone(x.in.body[:min(len(x.in.body), keptBody)])
		c.Model, c.Stream = x.in.model, x.in.stream
	})
	switch {
	case readErr != nil:
		return errGone
	case formErr != nil:
		return badRequest("", "the form cannot be read: %v", formErr)
	case m.keep == maxJSON && m.n > maxJSON:
		return &apiError{status: 413, kind: "invalid_request_error", message: "the body is larger than 64 MiB"}
	}
	return nil
}

// generates holds the paths whose body must be a JSON object.
var generates = map[string]bool{
	"/v1/chat/completions": true, "/v1/completions": true, "/v1/embeddings": true, "/v1/responses": true,
}

func (x *exchange) readForm(form *multipart.Reader) error {
	x.in.fields = map[string]string{}
	for {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if name := part.FileName(); name != "" {
			n, err := io.Copy(io.Discard, part)
			if err != nil {
				return err
			}
			x.in.files = append(x.in.files, upload{part.FormName(), name, n})
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, keptBody))
		if err != nil {
			return err
		}
		x.in.fields[part.FormName()] = string(value)
	}
	x.in.model = x.in.fields["model"]
	x.in.stream = x.in.fields["stream"] == "true"
	return nil
}

// scan finds the model and whether a stream is wanted, in any JSON object.
func (x *exchange) scan() {
	if body := bytes.TrimLeft(x.in.body, " \t\r\n"); len(body) == 0 || body[0] != '{' {
		x.in.jsonFail = errors.New("the body is not a JSON object")
		return
	}
	var head struct {
		Model  any `json:"model"`
		Stream any `json:"stream"`
	}
	if x.in.jsonFail = json.Unmarshal(x.in.body, &head); x.in.jsonFail == nil {
		x.in.model, _ = head.Model.(string)
		x.in.stream, _ = head.Stream.(bool)
	}
}

// decode reads the JSON body into v and insists on a model.
func (x *exchange) decode(v any) error {
	if x.in.jsonFail != nil {
		return badRequest("", "We could not parse the JSON body of your request: %v", x.in.jsonFail)
	}
	if x.in.model == "" {
		return badRequest("model", "you must provide a model parameter")
	}
	if err := json.Unmarshal(x.in.body, v); err != nil {
		param := ""
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			param = wrong.Field
		}
		return badRequest(param, "%v", err)
	}
	return nil
}
