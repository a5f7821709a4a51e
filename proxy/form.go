package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"net/textproto"

	"github.com/sluice-gateway/sluice/llm"
)

// ErrTooLarge is what a plane's reader returns when a body passes BodyLimit.
var ErrTooLarge = errors.New("body larger than the limit")

// Form reads a multipart body as far as its model field. The plane hands in the client's body through a reader that keeps what was read
// (in memory or on disk, up to BodyLimit), calls Request(nil), and sends what was kept and then the rest, which it passes through FormRest.
func (x *Exchange) Form(r io.Reader) *Reply {
	buf := make([]byte, 32<<10)
	for !x.form.found {
		n, err := r.Read(buf)
		if ferr := x.form.feed(buf[:n]); ferr != nil {
			return x.refuseForm(ferr)
		}
		if x.form.found {
			break
		}
		if errors.Is(err, io.EOF) {
			return x.refuseForm(errNoModel)
		}
		if err != nil {
			return x.refuseForm(err)
		}
	}
	return nil
}

// FormRest checks the part of a form that is streamed: a second model field would be read by the upstream and by nobody here.
func (x *Exchange) FormRest(chunk []byte) error {
	if x.form == nil {
		return nil
	}
	return x.form.feed(chunk)
}

func (x *Exchange) refuseForm(err error) *Reply {
	if errors.Is(err, ErrTooLarge) {
		return x.refuse(tooLarge(x.BodyLimit()), true)
	}
	return x.refuse(&llm.Error{Source: llm.SourceClient, Status: 400, Type: "invalid_request_error", Param: "model", Message: "The form cannot be routed: " + formProblem(err) + ".", Err: err}, true)
}

var (
	errNoModel    = errors.New("it has no `model` field")
	errModelTwice = errors.New("it has more than one `model` field")
	errForm       = errors.New("it is not a well-formed multipart form")
)

func formProblem(err error) string {
	for _, known := range []error{errNoModel, errModelTwice} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return errForm.Error()
}

const (
	maxModelName   = 256      // bytes of a form's model field
	maxPartHeaders = 16 << 10 // bytes of a part's headers
)

// formModel is a push scanner of a multipart form that knows where the model field's value stands in the body. The library's reader
// pulls and does not tell offsets. It is strict where parsers differ: delimiters after a bare LF are refused.
type formModel struct {
	boundary string
	model    string
	at       int64 // offset of the value; its length is len(model)
	found    bool

	delim   []byte // "--" + boundary
	state   formState
	buf     []byte // bytes not yet consumed
	off     int64  // offset of buf[0]
	begun   int64  // offset of the part's content
	isModel bool
	value   []byte
}

type formState uint8

const (
	formPreamble formState = iota
	formDelim              // just behind a delimiter
	formHeaders
	formBody
	formEpilogue
)

// feed takes the next bytes of the body.
func (f *formModel) feed(p []byte) error {
	if f.delim == nil {
		f.delim = append([]byte("--"), f.boundary...)
	}
	f.buf = append(f.buf, p...)
	for {
		more, err := f.step()
		if err != nil || !more {
			return err
		}
	}
}

// step consumes what it can; false = it needs more bytes.
func (f *formModel) step() (bool, error) {
	switch f.state {
	case formPreamble, formBody:
		return f.content()
	case formDelim:
		return f.afterDelim()
	case formHeaders:
		return f.headers()
	}
	f.consume(len(f.buf))
	return false, nil
}

// content looks for the next delimiter, which must stand at the start of a line: also of the form's first and of a part's first.
func (f *formModel) content() (bool, error) {
	from := 0
	for {
		i := bytes.Index(f.buf[from:], f.delim)
		if i < 0 {
			if keep := len(f.delim) + 1; len(f.buf) > keep {
				return false, f.take(len(f.buf) - keep)
			}
			return false, nil
		}
		i += from
		switch {
		case i == 0 && f.off == f.begun, i >= 2 && f.buf[i-2] == '\r' && f.buf[i-1] == '\n':
			if err := f.take(max(i-2, 0)); err != nil {
				return false, err
			}
			f.consume(min(i, 2) + len(f.delim))
			f.state = formDelim
			return true, f.endPart()
		case i >= 1 && f.buf[i-1] == '\n':
			return false, errForm
		}
		from = i + 1
	}
}

// take consumes n bytes of a part's content.
func (f *formModel) take(n int) error {
	if f.isModel && f.state == formBody {
		if len(f.value) == 0 {
			f.at = f.off
		}
		if f.value = append(f.value, f.buf[:n]...); len(f.value) > maxModelName {
			return errForm
		}
	}
	f.consume(n)
	return nil
}

func (f *formModel) consume(n int) {
	f.buf = append(f.buf[:0], f.buf[n:]...)
	f.off += int64(n)
}

func (f *formModel) endPart() error {
	if !f.isModel {
		return nil
	}
	f.isModel = false
	if len(f.value) == 0 {
		return errNoModel
	}
	f.model, f.found = string(f.value), true
	return nil
}

func (f *formModel) afterDelim() (bool, error) {
	if len(f.buf) < 2 {
		return false, nil
	}
	if f.buf[0] == '-' && f.buf[1] == '-' {
		f.state = formEpilogue
		return true, nil
	}
	i := bytes.IndexByte(f.buf, '\n')
	if i < 0 {
		if len(f.buf) > 256 {
			return false, errForm
		}
		return false, nil
	}
	if i == 0 || f.buf[i-1] != '\r' || len(bytes.Trim(f.buf[:i-1], " \t")) > 0 {
		return false, errForm
	}
	f.consume(i + 1)
	f.state = formHeaders
	return true, nil
}

func (f *formModel) headers() (bool, error) {
	end := bytes.Index(f.buf, []byte("\r\n\r\n"))
	if end < 0 {
		if len(f.buf) > maxPartHeaders {
			return false, errForm
		}
		return false, nil
	}
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(f.buf[:end+4]))).ReadMIMEHeader()
	if err != nil || len(h["Content-Disposition"]) != 1 {
		return false, errForm
	}
	_, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err != nil {
		return false, errForm
	}
	_, file := params["filename"]
	if f.isModel = params["name"] == "model" && !file; f.isModel && f.found {
		return false, errModelTwice // here and not at its end, which an upstream may not insist on
	}
	f.value = nil
	f.consume(end + 4)
	f.begun, f.state = f.off, formBody
	return true, nil
}
