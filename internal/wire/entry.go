package wire

import (
	"iter"
	"math"
	"net/http"
	"time"
)

// Entry is an HTTPAccessLogEntry: what the stage reads of it.
type Entry struct {
	Kind      uint64        // an AccessLogType
	Took      time.Duration // from the request's begin to its last byte sent
	Cluster   string        // that was asked
	Flags     Flags
	Transport string // why there is no connection
	Code      int    // of the answer; 0 = none
	Bytes     int64  // of its body
	Details   string // of the code

	metadata, asked, answered []byte // of the exchange; request and answer
}

// The kinds of entries that the stage is sent.
const (
	EntryRequest = 6 // DownstreamEnd: the end of a request as a whole
	EntryAttempt = 9 // UpstreamEnd: the end of one attempt
)

// Flags are the response flags that are set, by their number in ResponseFlags.
type Flags uint64

// The flags that are looked at.
const (
	NoHealthyUpstream Flags = 1 << (2 + iota)
	UpstreamRequestTimeout
	LocalReset
	UpstreamRemoteReset
	UpstreamConnectionFailure
	UpstreamConnectionTermination
	UpstreamOverflow
	DownstreamConnectionTermination  Flags = 1 << 15
	StreamIdleTimeout                Flags = 1 << 17
	DownstreamProtocolError          Flags = 1 << 19
	UpstreamMaxStreamDurationReached Flags = 1 << 20
	DurationTimeout                  Flags = 1 << 23
	UpstreamProtocolError            Flags = 1 << 24
	NoClusterFound                   Flags = 1 << 25
	OverloadManager                  Flags = 1 << 26
	DnsResolutionFailure             Flags = 1 << 27
	DownstreamRemoteReset            Flags = 1 << 28
)

// Has reports whether any of these is set.
func (f Flags) Has(any Flags) bool { return f&any != 0 }

func parseEntry(b []byte) (e Entry) {
	for f, v := range fields(b) {
		switch f {
		case 1:
			e.common(v.bytes)
		case 3:
			e.asked = v.bytes
		case 4:
			e.response(v.bytes)
		}
	}
	return e
}

func (e *Entry) common(b []byte) {
	for f, v := range fields(b) {
		switch f {
		case 12:
			e.Took = time.Duration(in(v.bytes, 1).number)*time.Second + time.Duration(in(v.bytes, 2).number)
		case 15:
			e.Cluster = string(v.bytes)
		case 16:
			for f, v := range fields(v.bytes) {
				if f < 64 && v.number != 0 {
					e.Flags |= 1 << f
				}
			}
		case 17:
			e.metadata = v.bytes
		case 18:
			e.Transport = string(v.bytes)
		case 33:
			e.Kind = v.number
		}
	}
}

func (e *Entry) response(b []byte) {
	e.answered = b
	for f, v := range fields(b) {
		switch f {
		case 1:
			e.Code = int(in(v.bytes, 1).number)
		case 3:
			e.Bytes = int64(v.number)
		case 6:
			e.Details = string(v.bytes)
		}
	}
}

// lookup returns what a map has for a key: a map is a field of entries.
func lookup(b []byte, of field, key string) (found value) {
	for f, v := range fields(b) {
		if f == of && string(in(v.bytes, 1).bytes) == key {
			found = in(v.bytes, 2)
		}
	}
	return found
}

// of returns one value of the dynamic metadata.
func (e *Entry) of(namespace, key string) []byte {
	return lookup(lookup(e.metadata, 1, namespace).bytes, 1, key).bytes
}

// ID is the exchange's id, as 32 hex digits; "" = none.
func (e *Entry) ID() string { return string(lookup(e.asked, 13, HeaderID).bytes) }

// Headers are those of the answer that the log was told to hold.
func (e *Entry) Headers() http.Header {
	h := http.Header{}
	for f, v := range fields(e.answered) {
		if f == 4 {
			h.Set(string(in(v.bytes, 1).bytes), string(in(v.bytes, 2).bytes))
		}
	}
	return h
}

// Log is a StreamAccessLogsMessage.
type Log []byte

// Entries are those of the message.
func (b Log) Entries() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for f, v := range fields(in(b, 2).bytes) {
			if e := parseEntry(v.bytes); f == 1 && !yield(&e) {
				return
			}
		}
	}
}

// Count reads a number of the usage. What is no sane number was not counted.
func (e *Entry) Count(name string) (n int, ok bool) {
	for f, v := range fields(e.of(MetadataUsage, name)) {
		if n := math.Float64frombits(v.number); f == 2 && n >= 0 && n < 1<<40 { // number_value
			return int(n), true
		}
	}
	return 0, false
}
