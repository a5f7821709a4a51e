package simulator

import "fmt"

// transcription answers POST /v1/audio/transcriptions: the text names the file's size and the model, for nothing was listened to.
func (x *exchange) transcription() error {
	if !x.in.form {
		return badRequest("file", "the request must be multipart/form-data")
	}
	var file *upload
	for i := range x.in.files {
		if x.in.files[i].Field == "file" {
			file = &x.in.files[i]
		}
	}
	switch {
	case file == nil:
		return badRequest("file", "the form has no file")
	case x.in.model == "":
		return badRequest("model", "you must provide a model parameter")
	}
	text := fmt.Sprintf("[simulated answer of %s] %s received %d bytes of audio named %q and heard nothing.",
		x.model(), x.s.opts.Name, file.Bytes, file.Name)
	in := int(file.Bytes+3) / 4
	x.call.note(func(c *Call) { c.TokensIn = in })
	out := tokens(len(text))
	if x.in.fields["response_format"] == "text" {
		x.call.note(func(c *Call) { c.TokensOut = out })
		return x.send(200, "text/plain; charset=utf-8", []byte(text+"\n"))
	}
	return x.unary(object{"text": text, "model": x.model(), "bytes": file.Bytes,
		"usage": object{"type": "tokens", "input_tokens": in, "output_tokens": out, "total_tokens": in + out}}, out)
}

// echo answers every path that the simulator does not know with what it received.
func (x *exchange) echo() error {
	answer := object{"simulated": true, "by": x.s.opts.Name, "method": x.r.Method, "path": x.r.URL.Path, "query": x.r.URL.RawQuery,
		"content_type": x.r.Header.Get("Content-Type"), "bytes": x.in.size, "sha256": x.in.sha256, "model": x.in.model}
	if x.in.form {
		answer["files"] = append([]upload{}, x.in.files...)
	}
	return x.unary(answer, 0)
}
