package feedback

import (
	"errors"
	"sync"
	"time"
)

// ErrUnknown is the answer to a judgement of an exchange that is not remembered, or is not the asker's.
var ErrUnknown = errors.New("no exchange of yours with this id is remembered")

const (
	// Remembered is how many exchanges can be judged at once; the oldest are forgotten first.
	Remembered = 16 << 10
	// Judgeable is how long an exchange can be judged.
	Judgeable = 24 * time.Hour
	// askedAgainWithin is how soon the same words count as the same question.
	askedAgainWithin = 10 * time.Minute
)

// Exchange is one answered exchange.
type Exchange struct {
	ID    string
	Owner string // who asked: only they may judge it
	At    time.Time
	Words uint64 // hash of the user's own words, never written; 0 = it asks nothing that could be asked again
	Rank  int    // of the tier that answered
	Last  int    // rank of the strongest tier
	Bad   bool   // the answer was no use by its own signs
	Facts
}

type words struct {
	owner string
	hash  uint64
}

// Memory remembers exchanges until they are judged. Safe for concurrent use.
type Memory struct {
	mu     sync.Mutex
	ring   []*Exchange
	next   int
	byID   map[string]*Exchange
	latest map[words]*Exchange
}

// NewMemory returns an empty memory of n exchanges.
func NewMemory(n int) *Memory {
	return &Memory{ring: make([]*Exchange, n), byID: map[string]*Exchange{}, latest: map[words]*Exchange{}}
}

// Saw remembers an exchange and returns the records of the signs that it gives: of its own answer, and of an earlier exchange whose question it
// asks again.
func (m *Memory) Saw(e *Exchange) (signs []Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Bad {
		signs = append(signs, e.Sign(InvalidOutput, e.At))
	}
	key := words{e.Owner, e.Words}
	if old := m.latest[key]; old != nil && e.Words != 0 && e.At.Sub(old.At) < askedAgainWithin {
		signal := AskedAgain
		if e.Rank > old.Rank {
			signal = Override
		}
		signs = append(signs, old.Sign(signal, e.At))
	}
	if gone := m.ring[m.next]; gone != nil {
		delete(m.byID, gone.ID)
		if k := (words{gone.Owner, gone.Words}); m.latest[k] == gone {
			delete(m.latest, k)
		}
	}
	m.ring[m.next] = e
	m.next = (m.next + 1) % len(m.ring)
	m.byID[e.ID] = e
	m.latest[key] = e
	return signs
}

// Sign is the record of an implicit outcome: the answer was not good enough. Of the strongest tier's answer it says so of that tier.
func (e *Exchange) Sign(signal string, at time.Time) Record {
	r := Record{Time: at, RequestID: e.ID, Signal: signal, Facts: e.Facts}
	wrong := 0.0
	r.label(Judgement{Score: &wrong}, e.Rank, e.Last)
	return r
}

// Judge returns the record of a judgement, or ErrUnknown.
func (m *Memory) Judge(id, owner string, j Judgement, now time.Time) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byID[id]
	if e == nil || e.Owner != owner || now.Sub(e.At) > Judgeable {
		return Record{}, ErrUnknown
	}
	r := Record{Time: now, RequestID: e.ID, Signal: Told, Facts: e.Facts, Score: j.Score, ExpectedTier: j.ExpectedTier}
	r.label(j, e.Rank, e.Last)
	return r, nil
}
